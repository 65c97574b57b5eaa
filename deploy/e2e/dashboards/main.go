//go:build unix

// Command dashboards checks that the dashboards have something to show: it
// starts two replicas and lets everything happen that they count, has two real
// Prometheuses scrape them, one of which takes native histograms, and asks each
// for every expression of every panel until all have given values other than 0.
// It is run by .ci/dashboards, with a directory that holds the built
// ollama-proxy and a certificate, and exits 1 if something stays empty. Whoever
// runs it ends what it has started.
package main

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	limit    = 90 * time.Second // for everything
	interval = "500ms"          // of scrapes
	window   = "10s"            // for $__rate_interval, which Grafana makes from the scrape interval
	pace     = 20 * time.Millisecond
)

var (
	replicas []string // addresses for clients
	metrics  []string // and for Prometheus
)

func main() {
	if len(os.Args) != 2 {
		kit.Fatal("run .ci/dashboards instead")
	}
	kit.Dir = os.Args[1]
	boards := []board{readBoard("deploy/grafana/overview.json"), readBoard("deploy/grafana/keys.json")}
	late := start()
	sources := []*prometheus{
		{name: "classic", bucketed: true},
		{name: "native", flags: []string{"--enable-feature=native-histograms"}},
	}
	for _, p := range sources {
		p.start()
	}
	load()
	sources[0].await("a replica without Ollama", `ollama_proxy_upstream_up == 0 and on (instance) ollama_proxy_upstream_errors_total{kind="dial"} > 0`)
	late() // it comes now
	damage()
	sources[0].await("streams on both replicas", `count(sum by (instance) (increase(ollama_proxy_streams_total[10s])) > 0) == 2`)
	moved := func(metric, label string, all []string) {
		sources[0].await("every "+label, fmt.Sprintf(`count(sum by (%s) (ollama_proxy_%s) > 0) == %d`, label, metric, len(all)))
	}
	moved("refusals_total", "reason", handler.RefusalReasons())
	moved("upstream_errors_total", "kind", handler.UpstreamErrors())
	moved("streams_total", "outcome", handler.StreamOutcomes()[:5]) // not shutdown: who shuts down is not scraped again

	asked := 0
	for _, p := range sources {
		for _, b := range boards {
			asked += p.check(b)
		}
		if buckets := p.values(`ollama_proxy_overhead_seconds_bucket`); (len(buckets) > 0) != p.bucketed {
			kit.Fatal("the Prometheus for %s histograms has %d series of buckets", p.name, len(buckets))
		}
	}
	fmt.Printf("%d questions of panels, variables and annotations have values, with classic and with native histograms, after %s\n", asked, kit.Seconds(time.Since(kit.Began)))
}

// board is what a dashboard asks for.
type board struct {
	Title       string
	Panels      []panel
	Templating  struct{ List []variable }
	Annotations struct{ List []struct{ Target target } }
}

type panel struct {
	Title   string
	Targets []target
	Panels  []panel
}

type target struct{ RefID, Expr string }

type variable struct {
	Name, Type, AllValue string
	Query                any
}

func readBoard(file string) (b board) {
	kit.Must(json.Unmarshal([]byte(kit.ReadFile(file)), &b), "reading %s", file)
	return b
}

// prometheus is a real one.
type prometheus struct {
	name     string
	flags    []string
	bucketed bool
	address  string
}

// start lets it scrape the replicas, and one that is down, and judge the alerts
// without waiting until they have been true for long.
func (p *prometheus) start() {
	p.address = kit.FreeAddress()
	home := filepath.Join(kit.Dir, p.name)
	kit.Must(os.Mkdir(home, 0o700), "a directory")
	rules := kit.ReadFile("deploy/prometheus/alerts.yaml")
	kit.WriteFile(filepath.Join(home, "alerts.yaml"), regexp.MustCompile(`(?m)^ +for: .*\n`).ReplaceAllString(rules, ""))
	kit.WriteFile(filepath.Join(home, "prometheus.yaml"), fmt.Sprintf(`
global: {scrape_interval: %s, evaluation_interval: %[1]s}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: ollama-proxy
    static_configs: [{targets: ["%s", "%s"]}]
`, interval, strings.Join(metrics, `", "`), kit.FreeAddress()))
	kit.Start("prometheus-"+p.name, nil, "prometheus", append(p.flags, "--config.file", filepath.Join(home, "prometheus.yaml"),
		"--storage.tsdb.path", filepath.Join(home, "data"), "--web.listen-address", p.address)...)
	p.await("Prometheus", "up")
}

// check asks for all that the board asks for, until everything has had a value
// other than 0, and returns how much that was.
func (p *prometheus) check(b board) int {
	chosen := map[string]string{"$__rate_interval": window, "$__range": "1m"}
	fill := func(expr string) string {
		for name, value := range chosen {
			expr = strings.ReplaceAll(expr, name, value)
		}
		if strings.Contains(expr, "$") {
			kit.Fatal("%s: nothing is known of a variable in %s", b.Title, expr)
		}
		return expr
	}
	asked := 0
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			chosen["$"+v.Name] = p.choose(v, fill)
			asked++
		}
	}
	questions := map[string]string{}
	var add func([]panel)
	add = func(panels []panel) {
		for _, one := range panels {
			for _, t := range one.Targets {
				questions[one.Title+", "+t.RefID] = fill(t.Expr)
			}
			add(one.Panels)
		}
	}
	add(b.Panels)
	for _, a := range b.Annotations.List {
		questions["annotation "+a.Target.RefID] = fill(a.Target.Expr)
	}
	asked += len(questions)
	for len(questions) > 0 {
		for name, expr := range questions {
			if slices.ContainsFunc(p.values(expr), func(v float64) bool { return v != 0 && !math.IsNaN(v) && !math.IsInf(v, 0) }) {
				delete(questions, name)
			}
		}
		if len(questions) > 0 && time.Since(kit.Began) > limit {
			for name, expr := range questions {
				fmt.Printf("%s: %s: nothing but %v from %s\n", b.Title, name, p.values(expr), expr)
			}
			kit.Fatal("with %s histograms %d panels of %s stay empty", p.name, len(questions), b.Title)
		}
		time.Sleep(200 * time.Millisecond)
	}
	return asked
}

// choose gives all values of a variable, as Grafana does when All is chosen.
func (p *prometheus) choose(v variable, fill func(string) string) string {
	query, _ := v.Query.(map[string]any)
	text, _ := query["query"].(string)
	inside := strings.TrimSuffix(strings.TrimPrefix(text, "label_values("), ")")
	selector, label, found := strings.Cut(inside, ", "+v.Name)
	if !found || label != "" {
		kit.Fatal("cannot read the variable %s: %s", v.Name, text)
	}
	var values []string
	p.get("/api/v1/label/"+v.Name+"/values", url.Values{"match[]": {fill(selector)}}, &values)
	if len(values) == 0 {
		kit.Fatal("the variable %s has no values", v.Name)
	}
	for i, value := range values {
		values[i] = strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`)
	}
	return cmp.Or(v.AllValue, "("+strings.Join(values, "|")+")")
}

// values are all that an expression has been since the start.
func (p *prometheus) values(expr string) (all []float64) {
	var data struct {
		Result []struct{ Values [][2]any }
	}
	p.get("/api/v1/query_range", url.Values{"query": {expr}, "start": {unix(kit.Began)}, "end": {unix(time.Now())}, "step": {"1"}}, &data)
	for _, series := range data.Result {
		for _, pair := range series.Values {
			text, _ := pair[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			kit.Must(err, "a value of Prometheus's")
			all = append(all, value)
		}
	}
	return all
}

// get asks Prometheus's API.
func (p *prometheus) get(path string, q url.Values, data any) {
	res, err := http.Get("http://" + p.address + path + "?" + q.Encode())
	if err != nil {
		return // not there yet
	}
	defer res.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	err = json.NewDecoder(res.Body).Decode(&answer)
	if res.StatusCode == http.StatusServiceUnavailable {
		return // not ready yet
	}
	kit.Must(err, "Prometheus's answer")
	if answer.Status != "success" {
		kit.Fatal("Prometheus refuses %s: %s", q, answer.Error)
	}
}

func (p *prometheus) await(what, expr string) {
	kit.AwaitWithin(limit-time.Since(kit.Began), what, func() bool { return len(p.values(expr)) > 0 })
}

// start starts two replicas. The first has two Ollamas. The second has another set of secrets, and no
// Ollama before late is called.
func start() (late func()) {
	ollama := startOllama("127.0.0.1:0")
	absent := kit.FreeAddress()
	kit.Command("secret", "--out", path("secret-1"))
	kit.WriteFile(path("secret-2"), kit.ReadFile(path("secret-1"))+kit.Command("secret")+"\n")
	for i, upstream := range []string{ollama, absent} {
		n := strconv.Itoa(i + 1)
		kit.WriteFile(path("revocations-"+n), "# revoked keys\n")
		replicas, metrics = append(replicas, kit.FreeAddress()), append(metrics, kit.FreeAddress())
		if i == 0 {
			upstream += ",http://" + startOllama("127.0.0.1:0") // what the one breaks off, the other is asked
		}
		kit.Start("replica-"+n, nil, path("ollama-proxy"), "serve", "--listen", replicas[i], "--metrics-listen", metrics[i],
			"--upstream", "http://"+upstream, "--secret-file", path("secret-"+n), "--revocations", path("revocations-"+n),
			"--tls-cert", path("tls.crt"), "--tls-key", path("tls.key"), "--metrics-per-key", "--native-histograms",
			"--reload-interval", "200ms", "--first-byte-timeout", "1s", "--stall-timeout", "1s", "--max-body", "16KiB", "--max-in-flight", "60")
	}
	return func() { startOllama(absent) }
}

// startOllama starts a stand-in for Ollama.
func startOllama(address string) string {
	return kit.Listen(address, standin.New(standin.Options{Pace: pace}))
}

// damage lets the lists of the replicas differ, and the second's be no list. A
// stream on the first is cut by it.
func damage() {
	doomed := mint()
	res := ask(0, doomed, "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	for res == nil || res.StatusCode != http.StatusOK { // the replica is full now and then
		time.Sleep(100 * time.Millisecond)
		res = ask(0, doomed, "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	}
	kit.Command("revoke", "--revocations", path("revocations-1"), doomed)
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		kit.Fatal("a stream outlived its key")
	}
	file, err := os.OpenFile(path("revocations-2"), os.O_APPEND|os.O_WRONLY, 0)
	kit.Must(err, "the list")
	defer file.Close()
	_, err = io.WriteString(file, "this is no key\n")
	kit.Must(err, "the list")
}

const chat = `"messages":[{"role":"user","content":"Why is the sky blue?"}]`

// load asks both replicas for everything, good and bad, again and again.
func load() {
	alice, nameless := mint("--label", "alice"), mint()
	revoked, few, slow := mint("--label", "revoked"), mint("--rpm", "1"), mint("--streams", "1")
	for _, n := range []string{"1", "2"} {
		kit.Command("revoke", "--revocations", path("revocations-"+n), revoked)
	}
	stream := func(model string) string {
		return `{"model":"` + model + `","stream":true,"max_tokens":20,"stream_options":{"include_usage":true},` + chat + `}`
	}
	again(alice, "POST", "/v1/chat/completions", stream("llama3.2"))
	again(nameless, "POST", "/api/chat", `{"model":"qwen3:8b",`+chat+`}`)
	again(alice, "POST", "/v1/messages", `{"model":"llama3.2","max_tokens":20,"stream":true,`+chat+`}`)
	again(nameless, "POST", "/api/embed", `{"model":"nomic-embed-text","input":"Hello"}`)
	again(alice, "GET", "/api/tags", "")

	// What Ollama does wrong: see handler/standin/doc.go.
	for _, fault := range []string{"reset", "garbage", "hang", "hang-mid", "dies-between", "repeat", "error-event", "busy", "broken"} {
		again(alice, "POST", "/v1/chat/completions", stream(fault))
	}

	// What the proxy refuses.
	again("", "GET", "/api/tags", "")
	again("nonsense", "GET", "/api/tags", "")
	again(alice[:len(alice)-43]+strings.Repeat("A", 43), "GET", "/api/tags", "")
	again(mint("--expires-at", "2020-01-01T00:00:00Z"), "GET", "/api/tags", "")
	again(revoked, "GET", "/api/tags", "")
	again(alice+"\n"+nameless, "GET", "/api/tags", "")
	again(mint("--models", "tiny"), "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	again(mint("--routes", "embed"), "GET", "/api/tags", "")
	again(mint("--from", "192.0.2.0/24"), "GET", "/api/tags", "")
	again(alice, "POST", "/api/chat", `{"model":"`+strings.Repeat("x", 16<<10)+`"}`)
	for range 2 {
		again(few, "GET", "/api/tags", "")
		again(slow, "POST", "/api/chat", `{"model":"hang",`+chat+`}`)
	}
	for range 80 { // more than may be in flight
		again(alice, "POST", "/api/chat", `{"model":"hang",`+chat+`}`)
	}
}

var client = &http.Client{
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 200},
	Timeout:   3 * time.Second,
}

// again asks each replica in turn, for good. Every fourth client leaves early.
func again(key, method, path, body string) {
	go func() {
		for n := 0; ; n++ {
			if res := ask(n%len(replicas), key, method, path, body); res != nil {
				if n%4 != 3 {
					io.Copy(io.Discard, res.Body)
				}
				res.Body.Close()
			}
			time.Sleep(400 * time.Millisecond)
		}
	}()
}

// ask gives nil if there was no answer. Of two keys, the second goes in another
// header.
func ask(replica int, key, method, path, body string) *http.Response {
	key, other, two := strings.Cut(key, "\n")
	r, err := http.NewRequest(method, "https://"+replicas[replica]+path, strings.NewReader(body))
	kit.Must(err, "a request")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if two {
		r.Header.Set("x-api-key", other)
	}
	res, err := client.Do(r)
	if err != nil {
		return nil
	}
	return res
}

func mint(args ...string) string {
	return kit.Command(append([]string{"mint", "--secret-file", path("secret-1")}, args...)...)
}

func path(name string) string { return filepath.Join(kit.Dir, name) }
func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

//go:build unix

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
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
)

// prometheus is a running Prometheus server.
type prometheus struct {
	name     string
	flags    []string
	bucketed bool
	address  string
}

// start starts Prometheus. It scrapes the replicas, and one that is down, and evaluates the
// alerts without their waiting times.
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

// check evaluates the expressions of the board until each has had a value other than 0, and
// returns how many there are.
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

// choose returns all values of a variable, as Grafana does when All is selected.
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

// values returns all values of an expression since the start.
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

// get sends a request to the API of Prometheus.
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

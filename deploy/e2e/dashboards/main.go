//go:build unix

// Command dashboards checks that every panel of the dashboards shows data: it starts two
// replicas, makes everything happen that they count, lets two real Prometheus servers scrape
// them (one with native histograms), and evaluates every expression of every panel until
// each has given a value other than 0.
//
// .ci/dashboards runs it with a directory that contains the built ollama-proxy and a
// certificate. It exits with status 1 if an expression stays empty. The processes that it
// has started are ended by .ci/dashboards.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
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
	moved("upstream_errors_total", "kind", upstream.Errors())
	moved("streams_total", "outcome", handler.StreamOutcomes()[:5]) // without shutdown: a replica that shuts down is not scraped again

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

func mint(args ...string) string {
	return kit.Command(append([]string{"mint", "--secret-file", path("secret-1")}, args...)...)
}

func path(name string) string { return filepath.Join(kit.Dir, name) }
func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

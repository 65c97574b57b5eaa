package readme

import (
	"maps"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/metrics"
)

const prefix = "ollama_proxy_"

type inForce struct{}

func (inForce) Revocations() int          { return 0 }
func (inForce) RevocationsHash() uint64   { return 0 }
func (inForce) SecretFingerprint() uint64 { return 0 }

// exported returns the names of all metrics that there can be. A metric with labels
// is there once something has happened that it counts, so each method of Metrics is
// called, on one that is new: some take away what others have made.
func exported(t *testing.T, perKey bool, called func(method string) bool) []string {
	t.Helper()
	all := map[string]bool{}
	for i := range reflect.TypeFor[*metrics.Metrics]().NumMethod() {
		if method := reflect.TypeFor[*metrics.Metrics]().Method(i).Name; !called(method) {
			continue
		}
		one := []string{"other"}
		m := metrics.New(metrics.Options{
			Version: "v1", Routes: one, RefusalReasons: one, UpstreamErrors: one, UpstreamChoices: one, UpstreamRetries: one,
			InForce: inForce{}, PerKey: perKey,
		})
		m.UpstreamJoined("gpu1")
		var args []reflect.Value
		method := reflect.ValueOf(m).Method(i)
		for j := range method.Type().NumIn() {
			args = append(args, something(method.Type().In(j)))
		}
		method.Call(args)
		page := httptest.NewRecorder()
		m.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		for _, found := range regexp.MustCompile(`(?m)^# TYPE `+prefix+`(\w+) `).FindAllStringSubmatch(page.Body.String(), -1) {
			all[found[1]] = true
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no metrics")
	}
	return slices.Sorted(maps.Keys(all))
}

// something returns a value to call a method with: the first of what is numbered,
// a little of what is counted, and that it went well.
func something(of reflect.Type) reflect.Value {
	switch of.Kind() {
	case reflect.Bool:
		return reflect.ValueOf(true)
	case reflect.Int64: // a duration, too
		return reflect.ValueOf(int64(1)).Convert(of)
	case reflect.String:
		return reflect.ValueOf("other").Convert(of)
	case reflect.Func:
		return reflect.ValueOf(time.Now)
	}
	return reflect.Zero(of)
}

// TestMetrics holds the list of metrics to those that there are: always, with
// --metrics-per-key, and with TLS.
func TestMetrics(t *testing.T) {
	t.Parallel()
	_, list, begins := strings.Cut(section(t, "Operating it"), "The metrics begin with\n`"+prefix+"`: ")
	list, _, ends := strings.Cut(list, ", for up to")
	if !begins || !ends {
		t.Fatal("README.md has no list of metrics")
	}
	list = regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(list, "") // remarks
	always, rest, _ := strings.Cut(list, "; with TLS also ")
	withTLS, withKeys, _ := strings.Cut(rest, "; with `--metrics-per-key` also ")

	const certificate = "WatchCertificate"
	plain := exported(t, false, func(method string) bool { return method != certificate })
	without := func(all []string) []string {
		return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(plain, name) })
	}
	for _, test := range []struct {
		when, text string
		want       []string
	}{
		{"always", always, plain},
		{"with TLS", withTLS, without(exported(t, false, func(method string) bool { return method == certificate }))},
		{"with --metrics-per-key", withKeys, without(exported(t, true, func(method string) bool { return method != certificate }))},
	} {
		listed := quoted(test.text)
		slices.Sort(listed)
		if !slices.Equal(listed, test.want) {
			t.Errorf("%s, README.md has\n%q, not\n%q", test.when, listed, test.want)
		}
	}
}

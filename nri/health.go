package nri

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// counters count what the plugin did.
type counters struct {
	hooked, unwanted, present, missing atomic.Int64 // containers that were created
	repaired, failed                   atomic.Int64 // containers that ran already
	connects                           atomic.Int64
	connected                          atomic.Bool
}

// Handler answers GET /healthz, with success while the plugin is connected to the engine,
// and GET /metrics, in Prometheus' text format.
func (p *Plugin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !p.connected.Load() {
			http.Error(w, "not connected to the container engine", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		connected := 0
		if p.connected.Load() {
			connected = 1
		}
		fmt.Fprintf(w, `# HELP devlog_nri_connected Whether the plugin is connected to the container engine.
# TYPE devlog_nri_connected gauge
devlog_nri_connected %d
# HELP devlog_nri_connections_total Connections to the container engine.
# TYPE devlog_nri_connections_total counter
devlog_nri_connections_total %d
# HELP devlog_nri_containers_total Containers that were created, by what they got.
# TYPE devlog_nri_containers_total counter
devlog_nri_containers_total{result="hooks"} %d
devlog_nri_containers_total{result="not_wanted"} %d
devlog_nri_containers_total{result="had_hooks"} %d
devlog_nri_containers_total{result="no_program"} %d
# HELP devlog_nri_repairs_total Repairs of containers that ran already.
# TYPE devlog_nri_repairs_total counter
devlog_nri_repairs_total{result="done"} %d
devlog_nri_repairs_total{result="failed"} %d
`, connected, p.connects.Load(), p.hooked.Load(), p.unwanted.Load(), p.present.Load(), p.missing.Load(), p.repaired.Load(), p.failed.Load())
	})
	return mux
}

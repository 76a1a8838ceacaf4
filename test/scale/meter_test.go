package main

import (
	"testing"
	"time"
)

const scraped = `# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="",resource="nodes",scope="resource",subresource="status",verb="PATCH",version="v1"} 90
apiserver_request_total{code="429",group="",resource="nodes",scope="resource",subresource="status",verb="PATCH",version="v1"} 7
apiserver_request_total{code="200",group="",resource="nodes",scope="cluster",subresource="",verb="LIST",version="v1"} 5
apiserver_request_total{code="201",group="events.k8s.io",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 4
# TYPE apiserver_request_duration_seconds histogram
apiserver_request_duration_seconds_bucket{resource="nodes",subresource="status",verb="PATCH",le="0.005"} 50
apiserver_request_duration_seconds_bucket{resource="nodes",subresource="status",verb="PATCH",le="0.1"} 98
apiserver_request_duration_seconds_bucket{resource="nodes",subresource="status",verb="PATCH",le="1"} 100
apiserver_request_duration_seconds_bucket{resource="nodes",subresource="status",verb="PATCH",le="+Inf"} 100
apiserver_request_duration_seconds_sum{resource="nodes",subresource="status",verb="PATCH"} 3
apiserver_request_duration_seconds_count{resource="nodes",subresource="status",verb="PATCH"} 100
`

func TestCount(t *testing.T) {
	r, err := count([]byte(scraped))
	if err != nil {
		t.Fatal(err)
	}
	if r.writes != 90 || r.refused != 7 || r.events != 4 || r.quantile(0.5) != "≤5ms" || r.quantile(0.99) != "≤1s" {
		t.Errorf("%+v, p50 %s, p99 %s", r, r.quantile(0.5), r.quantile(0.99))
	}
	again, err := count([]byte(scraped))
	if err != nil {
		t.Fatal(err)
	}
	before := sample{apiPID: 1, requests: r, at: time.Unix(0, 0)}
	same := sample{apiPID: 1, requests: again, at: time.Unix(10, 0)}.minus(before)
	if same.writes != 0 || same.quantile(0.5) != "-" || same.wall != 10*time.Second {
		t.Errorf("nothing happened, and yet %+v", same)
	}
	if again, err = count([]byte(scraped)); err != nil {
		t.Fatal(err)
	}
	if anew := (sample{apiPID: 2, requests: again}).minus(before); anew.writes != 90 {
		t.Errorf("an API server that was started anew: %+v", anew)
	}
}

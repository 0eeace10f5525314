package router

import (
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct{ name, tag, fields, data string }{
		{"web", id, "CONTAINER_NAME=web|CONTAINER_ID=0123456789ab|CONTAINER_ID_FULL=" + id + "|CONTAINER_TAG=web|", `[container@32473 name="web" id="` + id + `"]`},
		{id, id, "CONTAINER_NAME=" + id + "|CONTAINER_ID=0123456789ab|CONTAINER_ID_FULL=" + id + "|CONTAINER_TAG=" + id + "|", `[container@32473 name="` + id + `" id="` + id + `"]`},
		{"web", "front", "CONTAINER_NAME=web|CONTAINER_TAG=front|", `[container@32473 name="web"]`},
		{"c1", "c1", "CONTAINER_NAME=c1|CONTAINER_TAG=c1|", `[container@32473 name="c1"]`},
	} {
		got := Container{Name: tt.name, Tag: tt.tag}
		got.identify()
		if fields := strings.ReplaceAll(string(got.fields), "\n", "|"); fields != tt.fields || string(got.data) != tt.data {
			t.Errorf("%s, %s: %q, %q", tt.name, tt.tag, fields, got.data)
		}
	}
}

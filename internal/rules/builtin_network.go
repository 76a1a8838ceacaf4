package rules

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// networkRules recognise faults of the network plugin, kube-proxy and DNS.
func networkRules() []Rule {
	return []Rule{
		{
			// containerd and CRI-O, before them dockershim; then plugins' own words.
			Kind: problem.CNIFailure, Sources: Kubelet | Runtimes,
			Pattern: `[Ff]ailed to (?:setup|set up|create|destroy|teardown|tear down) network for (?:sandbox|pod|container)` +
				`|[Nn]etworkPlugin cni failed to (?:set up|teardown) pod` +
				`|no IP addresses available in` +
				`|[Ff]ailed to (?:allocate|assign|request).*\bIP(?:v[46])?\b(?: address)?` +
				`|failed to create pod network sandbox` +
				`|[Ee]rror (?:adding|removing|deleting) (?:(?:pod )?\S+ (?:to|from) (?:CNI )?)?network`,
			Message: "the network plugin could not set a sandbox up[ for {pod}]",
		},
		{
			// kubelet of itself and, up to 1.23, of dockershim's plugin; what it says of a pod
			// that waits for it is the same.
			Kind: problem.CNINotReady, Sources: Kubelet,
			Pattern: `NetworkReady=false|[Nn]etwork plugin is not ready: cni|Unable to update cni config: [Nn]o (?:valid )?networks`,
			Message: "kubelet waits for the network plugin, which has not been set up on this node",
		},
		{
			// The API server's address as pods know it is a private one on port 443.
			Kind: problem.ServiceIPUnreachable, Sources: Pod | CoreDNS | KubeProxy,
			Pattern: `dial tcp \[?(?P<ip>10\.[\d.]+|172\.(?:1[6-9]|2\d|3[01])\.[\d.]+|192\.168\.[\d.]+|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.[\d.]+|f[cd][0-9a-f:]+)\]?:443: (?:connect: )?(?:i/o timeout|no route to host|network is unreachable|connection timed out)`,
			Message: "pods cannot reach the service address {ip}:443",
		},
		{
			Kind: problem.IptablesFailure, Sources: KubeProxy | Kubelet | Docker | Other,
			Pattern: `[Ff]ailed to execute ip6?tables-(?:save|restore)` +
				`|[Ff]ailed to ensure (?:(?:that )?(?:\w+ )?chain|marking rule|rule to )` +
				`|[Ee]rror creating ip ?set|[Ff]ailed to make sure ip ?set|[Ff]ailed to add IPVS service` +
				`|holding the xtables lock` +
				`|nftables sync failed` +
				`|[Ff]ailed to [Pp]rogram (?:FILTER|NAT) chain|[Ii]ptables failed: `,
			Message: "iptables rules, ip sets or IPVS services cannot be written", Touches: []string{"node"},
		},
		{
			// CoreDNS asks upstream in vain; the address behind -> is who did not answer.
			Kind: problem.DNSFailure, Name: "upstream", Sources: CoreDNS | Pod,
			Pattern: `(?:read|write|dial) (?:udp|tcp) (?:\S+->)?(?P<upstream>\S+):53: (?:i/o timeout` +
				`|(?:read|write|connect): (?:connection (?:refused|timed out)|no route to host|network is unreachable|operation not permitted))`,
			Message: "the DNS server {upstream} does not answer",
		},
		{
			Kind: problem.DNSFailure, Name: "lookup", Sources: Kubelet | Runtimes | KubeProxy,
			Pattern: `lookup (?P<name>[-\w.]+)(?: on (?P<upstream>[\w.:\[\]%]+))?: .*(?:i/o timeout|server misbehaving|[Tt]emporary failure in name resolution|connection refused|network is unreachable)`,
			Message: "names cannot be looked up[ at {upstream}]",
		},
		{
			// It is an answer, and one name may be misspelt. That three are is unlikely.
			Kind: problem.DNSFailure, Name: "names", Sources: Kubelet | Runtimes | KubeProxy,
			Pattern: `lookup (?P<name>[-\w.]+)(?: on (?P<upstream>[\w.:\[\]%]+))?: no such host`,
			Logs:    problem.Count{N: 3, Within: 5 * time.Minute, Distinct: "name"},
			Message: "several names are said not to exist[ by {upstream}], the last {name}",
		},
		{
			Kind: problem.ResolvConfInvalid, Name: "coredns", Sources: CoreDNS | Pod,
			Pattern: `plugin/loop: (?:Loop \(|Forwarding loop detected|Seen "HINFO)|plugin/forward: no nameservers found`,
			Touches: []string{"node"},
			Message: "CoreDNS's upstream leads back to itself or to nowhere",
		},
		{
			Kind: problem.ResolvConfInvalid, Name: "kubelet", Sources: Kubelet,
			Pattern: `[Cc]ould not open resolv conf file|[Ff]ailed to (?:read|parse|open) (?:DNS )?resolv\.?conf|open \S*resolv\.conf: no such file or directory`,
			Touches: []string{"node"},
			Message: "kubelet cannot read its resolv.conf",
		},
	}
}

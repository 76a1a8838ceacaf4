package problem

import "time"

// This file holds the failures of the node's network: the network plugin,
// services, forwarding, routes, links and names.

// Kinds of the condition NodeNetworkFault.
const (
	CNIFailure              Kind = "CNIFailure"
	CNINotReady             Kind = "CNINotReady"
	CNIAgentDown            Kind = "CNIAgentDown"
	KubeProxyDown           Kind = "KubeProxyDown"
	PodIPsNearLimit         Kind = "PodIPsNearLimit"
	ServiceIPUnreachable    Kind = "ServiceIPUnreachable"
	IPForwardingOff         Kind = "IPForwardingOff"
	BridgeNetfilterOff      Kind = "BridgeNetfilterOff"
	ForwardPolicyDrop       Kind = "ForwardPolicyDrop"
	IptablesFailure         Kind = "IptablesFailure"
	NeighbourTableNearLimit Kind = "NeighbourTableNearLimit"
	TCPMemoryNearLimit      Kind = "TCPMemoryNearLimit"
	DefaultRouteMissing     Kind = "DefaultRouteMissing"
	LinkFault               Kind = "LinkFault"
	DNSFailure              Kind = "DNSFailure"
	ResolvConfInvalid       Kind = "ResolvConfInvalid"
)

func networkKinds() []Definition {
	return []Definition{
		{
			Kind: CNIFailure, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs: Count{N: 3, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: PodIPsNearLimit, Refused: true}, // no address is left
				{Kind: CNIAgentDown},
				{Kind: CNINotReady},
				{Kind: ForkRefused},
				{Kind: IptablesFailure},
			},
			Summary: "The network plugin fails to set up the network of pods.",
			Meaning: "New pods stay in ContainerCreating on this node; those that run are not touched. The scheduler does " +
				"not know and keeps placing pods here.",
			Evidence: []string{
				"journalctl --since=-1h -g 'setup network for sandbox|IP addresses'",
				"ls -l /etc/cni/net.d /opt/cni/bin",
				"ls /var/lib/cni/networks/*/ | wc -l",
			},
			LookAlike: "A failure or two while the network plugin's own pod is restarted or upgraded.",
			Remedy: "The text after \"plugin type=\" names the plugin and its error. No addresses: see PodIPsNearLimit. " +
				"Connection refused to a socket: the plugin's agent is down. Not found: its binary is missing in " +
				"/opt/cni/bin.",
			Next: "journalctl --since=-1h -n 3 -g 'network for sandbox'",
		},
		{
			Kind: CNINotReady, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			// kubelet says it every 5 s, also in the first minutes of each node.
			Logs: Count{N: 10, Within: time.Minute, Lasting: 3 * time.Minute}, Quiet: 2 * time.Minute,
			Confirm: true, // the runtime itself knows better
			Summary: "The container runtime has no usable network configuration.",
			Meaning: "kubelet keeps the node NotReady (\"cni plugin not initialized\"), and no pod starts but those on the " +
				"host's network.",
			Evidence: []string{
				"crictl info | grep -A5 NetworkReady",
				"journalctl --since=-1h -n 3 -g 'network (plugin is )?not ready'",
				"ls -l /etc/cni/net.d /opt/cni/bin",
				"grep -h '\"type\"' /etc/cni/net.d/*",
			},
			LookAlike: "The first minute after a boot, until the plugin's pod has written its file. Distributions keep these " +
				"folders elsewhere (k3s, microk8s, OpenShift, GKE): the runtime's configuration names them.",
			Remedy: "See whether the network plugin's DaemonSet runs on this node and can write /etc/cni/net.d; a file " +
				"that is not valid JSON, or a binary that is missing, is named here. Remove configurations of a " +
				"former plugin.",
			Next: "ls -l /etc/cni/net.d /opt/cni/bin; crictl info | grep -A5 NetworkReady",
		},
		{
			Kind: CNIAgentDown, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Summary: "The network plugin's agent does not run on this node, or restarts again and again.",
			Meaning: "Pods' routes, policies and addresses are no longer kept up: new pods get no network, and with some " +
				"plugins the traffic of running ones breaks as others come and go.",
			Evidence: []string{
				"crictl ps -a | grep -E 'calico|cilium|flannel|aws-node|weave|kube-router|antrea'",
				"crictl logs --tail 50 CONTAINER",
			},
			LookAlike: "Plugins without an agent (bridge, host-local), and those inside another process (flannel in k3s): " +
				"not applicable.",
			Remedy: "Read the log of its last attempt: often it cannot reach the API server, lacks RBAC, or finds an " +
				"interface or address range that does not fit.",
			Next: "crictl ps -a | grep -E 'calico|cilium|flannel|aws-node|weave|kube-router|antrea'",
		},
		{
			Kind: KubeProxyDown, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Summary: "kube-proxy does not run on this node, or is not healthy.",
			Meaning: "The rules of services are frozen: connections go to pods that no longer exist, new services do not " +
				"work here, and DNS fails once the DNS pods move.",
			Evidence: []string{
				"curl -sS -m 5 http://127.0.0.1:10256/healthz",
				"crictl ps -a --name kube-proxy",
				"crictl logs --tail 50 $(crictl ps -aq --name kube-proxy | head -1)",
			},
			LookAlike: "Nodes on which something else does its work (Cilium, kube-router, k3s in its own process): not " +
				"applicable.",
			Remedy: "Read the log of its last attempt: an unreadable configuration, a missing tool or kernel module " +
				"(ipvs, nf_tables), the xtables lock, or no way to the API server.",
			Next: "curl -sS -m 5 http://127.0.0.1:10256/healthz",
		},
		{
			Kind: PodIPsNearLimit, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"pod_ips"},
			Summary:   "The node's range of pod addresses is nearly used up, or addresses leak.",
			Meaning: "When none is left no pod gets a network (\"no IP addresses available in range set\"). Addresses leak " +
				"when sandboxes end without the plugin being called.",
			Evidence: []string{
				"ls /var/lib/cni/networks/*/ | grep -c '^[0-9]'",
				"crictl pods -q --state ready | wc -l",
				"grep -hE 'subnet|rangeStart|rangeEnd' /etc/cni/net.d/*",
			},
			LookAlike: "Plugins that keep addresses elsewhere (Calico, Cilium, AWS): not applicable. maxPods near the size " +
				"of the range is tight, not a leak.",
			Remedy: "Leak: remove the files of addresses whose container id `crictl pods` does not know, and update " +
				"plugin and runtime. Really full: lower maxPods, or give nodes a larger range (node-cidr-mask-size).",
			Next: "ls /var/lib/cni/networks/*/ | grep -c '^[0-9]'; crictl pods -q | wc -l",
		},
		{
			Kind: ServiceIPUnreachable, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs: Count{N: 5, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: KubeProxyDown},
				{Kind: IptablesFailure},
				{Kind: ConntrackDropping},
				{Kind: ForwardPolicyDrop},
			},
			Summary: "Pods on this node time out when they connect to a service's address.",
			Meaning: "Controllers and add-ons here cannot reach the API server through its service, though kubelet, which " +
				"uses the real address, can: the node is Ready and its pods do not work.",
			Evidence: []string{
				"grep -rsl 'dial tcp .*:443: i/o timeout' /var/log/pods",
				"iptables-save -t nat | grep -c KUBE-SVC; ipvsadm -Ln | head",
				"curl -ksS -m 5 https://CLUSTERIP:443/livez",
			},
			LookAlike: "\"connection refused\" while the API server restarts: the way is open, only nobody listens.",
			Remedy: "Does the address answer from the host? If not: kube-proxy's rules are missing or old. If so, but not " +
				"from a pod: forwarding, the FORWARD policy, or the network plugin's tunnel.",
			Next: "iptables-save -t nat | grep -c KUBE-SVC; curl -sS -m 5 127.0.0.1:10256/healthz",
		},
		{
			Kind: IPForwardingOff, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Summary: "The kernel does not forward packets between interfaces.",
			Meaning: "Pods on this node reach nothing outside it, and nothing outside reaches them. Usually a sysctl file " +
				"or a security baseline switched it off again.",
			Evidence: []string{
				"sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
				"grep -rs forward /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d /run/sysctl.d",
			},
			LookAlike: "IPv6 forwarding off on a cluster without IPv6, and the value inside a pod, which is a different one.",
			Remedy: "`sysctl -w net.ipv4.ip_forward=1` (IPv6: net.ipv6.conf.all.forwarding=1), and a file in " +
				"/etc/sysctl.d that sorts last; find what set it to 0.",
			Next: "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
		},
		{
			Kind: BridgeNetfilterOff, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Summary: "Packets between pods on the node's bridge bypass iptables.",
			Meaning: "A pod that calls a service whose endpoint is on the same node gets its answer from an address it " +
				"does not expect, and times out; network policies on the bridge do not apply.",
			Evidence: []string{
				"sysctl net.bridge.bridge-nf-call-iptables",
				"grep br_netfilter /proc/modules",
			},
			LookAlike: "Plugins without a bridge (Calico, Cilium): not applicable.",
			Remedy: "`modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1`; name the module in " +
				"/etc/modules-load.d and the value in /etc/sysctl.d.",
			Next: "sysctl net.bridge.bridge-nf-call-iptables; grep br_netfilter /proc/modules",
		},
		{
			Kind: ForwardPolicyDrop, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Summary: "The FORWARD chain drops packets by policy, and no rule accepts the pods' traffic.",
			Meaning: "Pods here cannot reach other nodes' pods, services or DNS, although addresses and routes are right. " +
				"docker and host firewalls set this policy.",
			Evidence: []string{
				"iptables -S FORWARD; iptables -L FORWARD -vn | head -20",
				"nft list chain ip filter FORWARD",
			},
			LookAlike: "docker's DROP policy with rules of kube-proxy or the network plugin that accept pods' traffic: " +
				"sound, and the policy's counter stands still.",
			Remedy: "Accept the pod range (`iptables -I FORWARD -s PODCIDR -j ACCEPT`, and -d), or set the policy with " +
				"`iptables -P FORWARD ACCEPT`; make it last: docker's \"iptables\": false or ip-forward-no-drop, or " +
				"the firewall's own configuration.",
			Next: "iptables -L FORWARD -vn | head -20",
		},
		{
			Kind: IptablesFailure, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs:    Count{N: 3, Within: 5 * time.Minute},
			Causes:  []Edge{{Kind: ForkRefused}},
			Summary: "kube-proxy or the network plugin cannot write its iptables rules, ip sets or IPVS services.",
			Meaning: "The rules stay as they were: services that change stop working on this node, and new pods may get no " +
				"port mapping or policy.",
			Evidence: []string{
				"grep -rshE 'iptables-(save|restore)|ipset|ip set' /var/log/pods/*kube-proxy*/ | tail",
				"iptables-save | wc -l; iptables --version",
				"cat /proc/locks; ls -li /run/xtables.lock",
			},
			LookAlike: "Debug lines that only say that iptables-restore is run.",
			Remedy: "Run the command from the line by hand. Lock held: find the holder (a firewall daemon in a loop). Bad " +
				"rule or version: legacy and nft binaries are mixed. Out of memory or time: tens of thousands of " +
				"rules, so change to nftables or IPVS mode.",
			Next: "iptables --version; timeout 20 iptables-save | wc -l",
		},
		{
			Kind: NeighbourTableNearLimit, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"neighbour_entries"},
			Summary:   "The kernel's neighbour table (ARP or IPv6) is nearly full.",
			Meaning: "At gc_thresh3 the node cannot resolve new neighbours: packets to other pods and nodes are dropped, " +
				"first of those not talked to lately. All network namespaces share the limit.",
			Evidence: []string{
				"sysctl net.ipv4.neigh.default.gc_thresh3 net.ipv6.neigh.default.gc_thresh3",
				"head -2 /proc/net/stat/arp_cache   # entries first, table_fulls last, in hex",
				"journalctl -k -g 'neighbou?r.*table overflow'",
			},
			LookAlike: "`ip neigh | wc -l`: it sees only the host's namespace and undercounts; permanent entries (Flannel, " +
				"Cilium) do not count against the limit.",
			Remedy: "Raise gc_thresh1, 2 and 3 together (for example 4096, 8192, 16384), for IPv4 and IPv6, in " +
				"/etc/sysctl.d. Large flat networks need it on every node.",
			Next: "sysctl net.ipv4.neigh.default.gc_thresh3; head -2 /proc/net/stat/arp_cache",
		},
		{
			Kind: TCPMemoryNearLimit, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"tcp_memory", "tcp_orphans"},
			Summary:   "TCP's buffers or orphaned connections on the node are near the kernel's limit.",
			Meaning: "Above it the kernel shrinks buffers and drops packets and connections of all pods: throughput " +
				"collapses and connections reset at random.",
			Evidence: []string{
				"cat /proc/net/sockstat; sysctl net.ipv4.tcp_mem net.ipv4.tcp_max_orphans",
				"ss -tmn | grep -o '(r[0-9]*,rb[0-9]*,t[0-9]*' | sort -tr -k2n | tail",
				"journalctl -k -g 'TCP: out of memory|too many orphaned'",
			},
			LookAlike: "Many sockets in TIME_WAIT, which take next to no memory.",
			Remedy: "Find the pod with large receive or send queues (`ss -tmnp`): a reader that is stuck holds the " +
				"memory. Raise net.ipv4.tcp_mem (in pages) if the load is real.",
			Next: "cat /proc/net/sockstat; sysctl net.ipv4.tcp_mem net.ipv4.tcp_max_orphans",
		},
		{
			Kind: DefaultRouteMissing, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Summary: "The node has lost its default route, or has no route to the API server.",
			Meaning: "The node is cut off from everything outside its own subnets: it becomes NotReady, pulls and DNS fail.",
			Evidence: []string{
				"ip route; ip -6 route",
				"ip route get APISERVER",
				"journalctl -u systemd-networkd -u NetworkManager --since=-1h | tail -30",
			},
			LookAlike: "Nodes that never had one, by design: then only the route to the API server counts. Routes in another " +
				"table (policy routing).",
			Remedy: "Renew the lease or bring the interface up (`networkctl reconfigure`, `nmcli con up`); as a stopgap " +
				"`ip route add default via GATEWAY`. A second DHCP client or a network plugin that takes the " +
				"interface over is a common reason.",
			Next: "ip route; ip -br addr",
		},
		{
			Kind: LinkFault, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Resources: []string{"link_carrier_changes"},
			Summary:   "A network interface of the node flaps, drops packets, or a member of a bond is down.",
			Meaning: "Connections stall or reset while the link is away; a bond without its second member has lost its " +
				"redundancy or half of its bandwidth.",
			Evidence: []string{
				"cat /sys/class/net/LINK/{operstate,carrier_changes,speed}",
				"ip -s -s link show LINK",
				"grep -A4 'Slave Interface' /proc/net/bonding/*",
			},
			LookAlike: "veth, bridges and tunnels of pods that come and go, and interfaces that were never connected.",
			Remedy: "Change cable, transceiver or switch port; compare speed and duplex; look at the driver's lines in " +
				"the kernel log. Drops without errors: raise the ring size with `ethtool -G`.",
			Next: "ip -s -s link show {subject}",
		},
		{
			Kind: DNSFailure, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			Logs: Count{N: 5, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: ConntrackDropping},
				{Kind: IPForwardingOff},
				{Kind: ForwardPolicyDrop},
				{Kind: ToolMissing, Touching: processes("conntrack")}, // stale UDP entries stay
				{Kind: KubeProxyDown},
				{Kind: ResolvConfInvalid},
				{Kind: DefaultRouteMissing},
				{Kind: NeighbourTableNearLimit},
			},
			Summary: "Names cannot be resolved: the cluster's DNS pods here, kubelet or the runtime get no answer.",
			Meaning: "Images are not pulled and applications cannot find their services. If DNS pods of this node are " +
				"concerned, pods on other nodes suffer as well.",
			Evidence: []string{
				"grep -rsh 'i/o timeout' /var/log/pods/kube-system_*dns*/ | tail",
				"journalctl --since=-1h -g 'lookup .*(timeout|no such host|server misbehaving)'",
				"cat /etc/resolv.conf; getent hosts kubernetes.io",
			},
			LookAlike: "\"no such host\" for one or two names: they do not exist.",
			Remedy: "Ask the servers of resolv.conf directly (`dig @SERVER kubernetes.io`). They answer: the way from the " +
				"pods is broken (forwarding, conntrack, kube-proxy). They do not: the upstream or the route to it is.",
			Next: "cat /etc/resolv.conf; time getent hosts kubernetes.io",
		},
		{
			Kind: ResolvConfInvalid, Condition: NodeNetworkFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "The resolv.conf that kubelet hands to pods has no usable nameserver.",
			Meaning: "Pods with dnsPolicy Default, CoreDNS among them, take it over: without a nameserver nothing outside " +
				"resolves; with a loopback address CoreDNS asks itself and ends with \"Loop detected\".",
			Evidence: []string{
				"grep resolvConf /var/lib/kubelet/config.yaml",
				"cat /etc/resolv.conf /run/systemd/resolve/resolv.conf",
				"grep -rsh 'plugin/loop' /var/log/pods/kube-system_*dns*/ | tail -3",
			},
			LookAlike: "127.0.0.53 in /etc/resolv.conf while kubelet uses /run/systemd/resolve/resolv.conf; \"Nameserver " +
				"limits exceeded\", which is a warning only.",
			Remedy: "Point resolvConf in kubelet's configuration to a file with real servers " +
				"(/run/systemd/resolve/resolv.conf under systemd-resolved), restart kubelet, and recreate the DNS " +
				"pods.",
			Next: "grep resolvConf /var/lib/kubelet/config.yaml; grep nameserver /etc/resolv.conf",
		},
	}
}

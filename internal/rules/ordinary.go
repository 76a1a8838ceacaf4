package rules

// This file: what a healthy node logs all day, by which the search for literals
// knows which runs of letters are rare.

// ordinaryLines are lines that matter to no rule.
func ordinaryLines() []string {
	return []string{
		`I1122 10:00:00.000000    1234 kubelet.go:2400] "SyncLoop (PLEG): event for pod" pod="payments/worker-7c9" event={"ID":"5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11","Type":"ContainerStarted","Data":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}`,
		`I1122 10:00:00.000000    1234 reconciler_common.go:253] "operationExecutor.VerifyControllerAttachedVolume started for volume \"kube-api-access-x7k2p\" (UniqueName: \"kubernetes.io/projected/5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11-kube-api-access-x7k2p\") pod \"worker-7c9\" (UID: \"5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11\") " pod="payments/worker-7c9"`,
		`I1122 10:00:00.000000    1234 reconciler_common.go:162] "operationExecutor.UnmountVolume started for volume \"config\" (UniqueName: \"kubernetes.io/configmap/5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11-config\") pod \"5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11\" (UID: \"5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11\") "`,
		`I1122 10:00:00.000000    1234 operation_generator.go:803] UnmountVolume.TearDown succeeded for volume "kubernetes.io/empty-dir/5382cf41-cache" (OuterVolumeSpecName: "cache") pod "5382cf41-7a0b" (UID: "5382cf41-7a0b"). InnerVolumeSpecName "cache". PluginName "kubernetes.io/empty-dir", VolumeGidValue ""`,
		`I1122 10:00:00.000000    1234 prober.go:107] "Probe failed" probeType="Readiness" pod="payments/worker-7c9" podUID="5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11" containerName="app" probeResult="failure" output="HTTP probe failed with statuscode: 503"`,
		`E1122 10:00:00.000000    1234 remote_runtime.go:479] "ExecSync cmd from runtime service failed" err="rpc error: code = DeadlineExceeded desc = context deadline exceeded" containerID="9f86d081884c7d65" cmd=["/bin/sh","-c","healthz"]`,
		`E1122 10:00:00.000000    1234 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with CrashLoopBackOff: \"back-off 5m0s restarting failed container=app pod=worker-7c9_payments(5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11)\"" pod="payments/worker-7c9" podUID="5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"`,
		`I1122 10:00:00.000000    1234 scope.go:117] "RemoveContainer" containerID="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`,
		`I1122 10:00:00.000000    1234 pod_startup_latency_tracker.go:104] "Observed pod startup duration" pod="payments/worker-7c9" podStartSLOduration=1.5 podStartE2EDuration="2.5s" podCreationTimestamp="2026-11-22 10:00:00 +0000 UTC" firstStartedPulling="0001-01-01 00:00:00 +0000 UTC" lastFinishedPulling="0001-01-01 00:00:00 +0000 UTC"`,
		`I1122 10:00:00.000000    1234 generic.go:334] "Generic (PLEG): container finished" podID="5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11" containerID="9f86d081884c7d65" exitCode=0`,
		`W1122 10:00:00.000000    1234 transport.go:356] Unable to cancel request for *otelhttp.Transport`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="StartContainer for \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\" returns successfully"`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:worker-7c9,Uid:5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11,Namespace:payments,Attempt:0,} returns sandbox id \"9f86d081884c7d65\""`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="CreateContainer within sandbox \"9f86d081884c7d65\" for container &ContainerMetadata{Name:app,Attempt:0,}"`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="StopPodSandbox for \"9f86d081884c7d65\" returns successfully"`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="shim disconnected" id=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 namespace=k8s.io`,
		`time="2026-11-22T10:00:00.000000000Z" level=warning msg="cleaning up after shim disconnected" id=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 namespace=k8s.io`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="loading plugin \"io.containerd.ttrpc.v1.task\"..." runtime=io.containerd.runc.v2 type=io.containerd.ttrpc.v1`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="ImageCreate event name:\"registry.k8s.io/pause:3.9\" labels:{key:\"io.cri-containerd.image\" value:\"managed\"}"`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="ignoring event" container=9f86d081884c7d65 module=libcontainerd namespace=moby topic=/tasks/delete type="*events.TaskDelete"`,
		`time="2026-11-22T10:00:00.000000000Z" level=info msg="PullImage \"registry.k8s.io/pause:3.9\" returns image reference \"sha256:9f86d081884c7d65\""`,
		`cbr0: port 12(veth1a2b3c4d) entered forwarding state`,
		`IPv6: ADDRCONF(NETDEV_CHANGE): veth1a2b3c4d: link becomes ready`,
		`device veth1a2b3c4d entered promiscuous mode`,
		`EXT4-fs (sda1): mounted filesystem 5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11 r/w with ordered data mode. Quota mode: none.`,
		`run-containerd-runc-k8s.io-9f86d081884c7d65-runc.AbCdEf.mount: Deactivated successfully.`,
		`Started cri-containerd-9f86d081884c7d65.scope - libcontainer container 9f86d081884c7d65.`,
		`cri-containerd-9f86d081884c7d65.scope: Consumed 1min 2.345s CPU time.`,
		`Created slice kubepods-burstable-pod5382cf41_7a0b_4f7e_9a55_1b1f5a5c2a11.slice - libcontainer container kubepods-burstable-pod5382cf41_7a0b.slice.`,
		`pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)`,
		`Accepted publickey for admin from 10.0.0.1 port 54321 ssh2: ED25519 SHA256:abcdefghijklmnop`,
		`I1122 10:00:00.000000       1 proxier.go:799] "SyncProxyRules complete" elapsed="12.345678ms"`,
	}
}

package rules

import (
	"github.com/nodevitals/nodevitals/internal/problem"
)

// storageRules recognise faults of file systems, block devices, network file
// systems and volumes.
func storageRules() []Rule {
	return []Rule{
		{
			// net/sunrpc/clnt.c; "timed out" is that of a soft mount.
			Kind: problem.NFSServerNotResponding, Name: "silent", Sources: Kernel,
			Pattern: `(?:nfs|lockd): server (?P<server>\S+) not responding`, Subject: "{server}",
			Message: "the NFS server {server} does not respond",
		},
		{
			Kind: problem.NFSServerNotResponding, Name: "ok", Sources: Kernel, Resolves: true,
			Pattern: `(?:nfs|lockd): server (?P<server>\S+) OK`, Subject: "{server}",
			Message: "the NFS server {server} responds again",
		},
		{
			// ext4 (newer kernels write a small r), FAT, JFS, btrfs; and ext4 and XFS, which
			// shut down. Older XFS that is shut down says so every 30 s.
			Kind: problem.ReadonlyFilesystem, Name: "fault", Sources: Kernel,
			Pattern: `(?:\((?:device )?(?P<device>` + device + `)[^)]*\).*?)?(?:[Rr]emounting (?:filesystem|fs) (?:as )?read-only|set read-only|forced readonly` +
				`|[Ss]hutting down filesystem|[Ff]ilesystem has been shut down|shut down requested|xfs_log_force: error -?5 returned)`,
			Subject: "{device}",
			Message: "the kernel made the file system [on {device} ]read-only or shut it down",
		},
		{
			// It has been mounted again, and was mended before that.
			Kind: problem.ReadonlyFilesystem, Name: "mounted", Sources: Kernel, Resolves: true,
			Pattern: `(?:EXT4-fs|XFS) \((?P<device>` + device + `)\): (?:mounted filesystem|re-mounted \S+ r/w|Ending clean mount|Ending recovery)`,
			Subject: "{device}",
			Message: "the file system on {device} was mounted",
		},
		{
			// fs/ext4/super.c, fs/xfs, fs/btrfs, fs/jbd2.
			Kind: problem.FilesystemCorruption, Name: "ext4", Sources: Kernel,
			Pattern: `EXT[234]-fs error \(device (?P<device>` + device + `)\)`, Subject: "{device}",
			Message: "ext4 found an error in its structures on {device}",
		},
		{
			Kind: problem.FilesystemCorruption, Name: "xfs", Sources: Kernel,
			Pattern: `XFS \((?P<device>` + device + `)\): .*(?:[Cc]orruption|xfs_do_force_shutdown|Internal error |[Mm]etadata (?:I/O|CRC) [Ee]rror|log I/O error)`, Subject: "{device}",
			Message: "XFS found an error in its structures on {device}",
		},
		{
			Kind: problem.FilesystemCorruption, Name: "btrfs", Sources: Kernel,
			Pattern: `BTRFS:? (?:error|critical|warning) \(device (?P<device>` + device + `)[^)]*\):? .*` +
				`(?:corrupt|bad tree block|csum failed|checksum|parent transid verify failed|unable to fixup|errno=-(?:5|117)\b)`, Subject: "{device}",
			Exclude: `corrupt 0, gen 0`, // of a device's errors: it failed to read or write
			Message: "btrfs found an error in its structures on {device}",
		},
		{
			Kind: problem.FilesystemCorruption, Name: "journal", Sources: Kernel,
			Pattern: `(?:Aborting journal on device |JBD2: Detected IO errors while flushing file data on )(?P<device>[a-zA-Z][\w.!-]*?)` +
				`(?:-\d+)?\.?\s*$`, // the journal's inode, and the end of the sentence
			Subject: "{device}", Message: "the journal of the file system on {device} was aborted",
		},
		{
			Kind: problem.FilesystemCorruption, Name: "overlay", Sources: Runtimes | Kubelet,
			Pattern: `readlink (?P<path>\S*/overlay2?\S*?):? ?invalid argument`,
			Message: "the overlay image store is damaged: {path} is no symbolic link any more",
		},
		{
			// block/blk-core.c. Loop devices, optical drives and what is only advice to
			// the device fail without harm.
			Kind: problem.BlockDeviceError, Name: "request", Sources: Kernel,
			Pattern: `(?P<error>I/O|critical (?:medium|target|space allocation|nexus)|medium|target|timeout|recoverable transport|protection` +
				`|reservation conflict|device offline) error, dev (?P<device>` + device + `), sector`,
			Exclude: `dev (?:loop|sr|fd|nbd)\d|DISCARD|WRITE_ZEROES|op 0x[39]:`, Subject: "{device}",
			Message: "requests to {device} fail: {error} error",
		},
		{
			// fs/buffer.c, before and after 4.13.
			Kind: problem.BlockDeviceError, Name: "buffer", Sources: Kernel,
			Pattern: `Buffer I/O error on dev(?:ice)? (?P<device>` + device + `),`,
			Exclude: `dev(?:ice)? (?:loop|sr|fd|nbd)\d`, Subject: "{device}",
			Message: "reads or writes of {device} fail with an I/O error",
		},
		{
			// drivers/nvme/host/pci.c.
			Kind: problem.BlockDeviceError, Name: "nvme", Sources: Kernel,
			Pattern: `(?P<device>nvme\d+(?:n\d+)?): (?:I/O (?:tag )?\d+ .*timeout, (?:aborting|reset|disable|completion polled)|controller is down; will reset` +
				`|(?:Removing after probe|Disabling device after reset) failure(?: status)?: -(?:5|19)\b)`, Subject: "{device}",
			Message: "requests to {device} time out",
		},
		{
			Kind: problem.VolumeOperationStuck, Sources: Kubelet,
			Pattern: `[Uu]nable to (?:attach or )?mount volumes(?: for pod)?\b` +
				`|UnmountVolume\.(?:TearDown|NewUnmounter) failed` +
				`|UnmountDevice failed` +
				`|MountVolume\.WaitForAttach failed` +
				`|AttachVolume\.Attach failed` +
				`|DetachVolume\.Detach failed` +
				`|[Vv]olumes?\b.*timed out waiting for (?:the condition|external-attacher)` +
				`|timeout expired waiting for volumes` +
				`|/(?:volumes|plugins|mount|globalmount)/?[^:]*: (?:device or resource busy|target is busy)`,
			Exclude: `Multi-Attach|failed to sync (?:configmap|secret) cache`,
			Subject: "{pod}",
			Message: "kubelet cannot attach, mount or unmount a volume[ of {pod}]",
		},
		{
			// The uid is the pod's: its name went with the pod. At most one line of two
			// is logged for all such pods together.
			Kind: problem.OrphanedPodVolumes, Sources: Kubelet,
			Pattern: `[Oo]rphaned pod ` + quote + `(?P<uid_of_pod>[-0-9a-f]{32,36})` + quote + ` found, but`,
			Subject: "pod uid {uid_of_pod}", Touches: []string{"pod:{uid_of_pod}"},
			Message: "the volume folders of the vanished pod {uid_of_pod} cannot be removed",
		},
	}
}

package main

// This file makes as many mounts as the volumes of a node's pods, and removes them.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// volumesOfPod is how many volumes a pod has: its token, and some of its own.
const volumesOfPod = 4

// mountDir is where the mounts are: the same in each run, so that one finds what
// another, that was killed, has left.
func mountDir(name string) string { return filepath.Join(os.TempDir(), name+"-volumes") }

// mountVolumes mounts the volumes of so many pods: small tmpfs, named as kubelet
// names them, below one that nobody else sees changes of.
func mountVolumes(ctx context.Context, name string, pods int) error {
	dir := mountDir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := mountTmpfs(dir); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", dir, err)
	}
	for i := range pods * volumesOfPod {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		at := filepath.Join(dir, fmt.Sprintf("pods/%08x-0000-4000-8000-000000000000/volumes/kubernetes.io~projected/volume-%d", i/volumesOfPod, i%volumesOfPod))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return err
		}
		if err := mountTmpfs(at); err != nil {
			return err
		}
	}
	return nil
}

func mountTmpfs(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
	}
	return nil
}

// unmountVolumes removes them all, and their folder; nothing if there are none.
func unmountVolumes(name string) error {
	dir := mountDir(name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	// What is mounted below goes along (umount2(2)).
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

package daemon

import "os"

// booted exists where systemd is the init (sd_booted(3)).
const booted = "/run/systemd/system"

// Booted returns whether systemd is this system's init.
func Booted() bool {
	st, err := os.Lstat(booted)
	return err == nil && st.IsDir()
}

package repair

import (
	"errors"

	"golang.org/x/sys/unix"

	"devlog/internal/devdir"
	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// link makes /dev/log a link in one step, and only replaces what was inspected.
func (w *work) link(text string) error {
	switch w.facts.Log.Kind {
	case rootfs.Socket, rootfs.Link:
		return devdir.Swap(w.dev, func() error { return devdir.ReplaceWithLink(w.dev, text, w.facts.Log.ID) })
	}
	// There was nothing, or it was renamed.
	return devdir.Changed(w.dev.Symlink(text, names.Log), unix.EEXIST)
}

// preserve makes /dev/log a link while the host's daemon keeps its socket. Its clients can
// reach it at all times: by the old name, by the new one, or by the link.
func (w *work) preserve(text string) error {
	return devdir.Swap(w.dev, func() error {
		// An undo may have removed the host's end of the link meanwhile.
		if st, err := w.dev.Lstat(names.HostSocket); w.facts.HostPrepared() && (err != nil || st.Kind != rootfs.Socket) {
			return errors.Join(devdir.ErrChanged, err)
		}
		return devdir.Preserve(w.dev, text, w.facts.Log.ID)
	})
}

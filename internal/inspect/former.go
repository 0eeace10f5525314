package inspect

import (
	"path"

	"devlog/internal/changes"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
)

// former finds the link that /dev/log was before somebody removed or replaced it, if others than
// this container rely on it. Without it the repair is as good for this container: after an error,
// for example in a receiver's sandbox, it is left out.
func (i *inspection) former(socket string) {
	f := i.facts
	if f.Host || f.Dev.Sharing == plan.Private || f.HostSocket.Live || f.Log.Target.Live {
		return
	}
	text := i.formerText(socket)
	if text == "" || text == f.Log.Link {
		return
	}
	p, err := i.target.Root.Resolve(text)
	if err != nil {
		return
	}
	defer p.Close()
	if at, err := i.path(p); err == nil {
		f.Former = plan.LogFacts{Kind: rootfs.Link, Link: text, Known: true, OnHost: f.MayPrepare, Target: at}
	}
}

// formerText returns the text of that link: the path of the host's journal, if it receives and
// /dev/log points to no listener on the host, or the link that an earlier repair of this
// container found; empty if neither is known. The container can forge the record, so only a known
// path counts.
func (i *inspection) formerText(socket string) string {
	f := i.facts
	if f.MayPrepare && !f.Log.OnHost && listensOnHost(names.JournalSocket, false) {
		return names.JournalSocket
	}
	if f.HostPrepared() || f.Log.Kind == rootfs.Link && (!f.MayPrepare || f.Log.OnHost) { // it may work on the host
		return ""
	}
	for _, at := range []string{socket, names.JournalSocket} { // where a repair may have listened
		d, err := i.target.Root.Dir(path.Dir(at))
		if err != nil {
			continue
		}
		r := changes.Read(d)
		d.Close()
		if r != nil && r.Was == rootfs.Link && i.target.Trusts(r) && plan.IsKnown(r.WasLink, i.known) {
			return r.WasLink
		}
	}
	return ""
}

package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"devlog/internal/launch"
	"devlog/internal/lost"
	"devlog/internal/nodecall"
	"devlog/internal/plan"
	"devlog/internal/target"
)

// again is what is needed to repair a container of the host's service again. Never rename a
// member: another version may read it.
type again struct {
	Strategy     plan.Strategy `json:"strategy"`
	Force        bool          `json:"force"`
	NoAutoRepair bool          `json:"noAutoRepair"`
	Socket       string        `json:"socket"`
	Known        []string      `json:"known"`
	Listen       []string      `json:"listen"`
	Names        launch.Names  `json:"names"`
	Config       string        `json:"config"`
	Rules        []string      `json:"rules"`
	Limits       launch.Limits `json:"limits"`
}

// describe returns the options as text for Again.
func (o Options) describe() ([]byte, error) {
	r := o.Receiver
	text, err := json.Marshal(again{o.Strategy, o.Force, o.NoAutoRepair, o.Socket, o.Known, o.Listen, r.Names, r.Config, r.Rules, r.Limits})
	if err != nil {
		return nil, fmt.Errorf("cannot describe the repair: %w", err)
	}
	return text, nil
}

// options is the reverse of describe.
func (a again) options() Options {
	o := Options{Socket: a.Socket, Known: a.Known, Listen: a.Listen, Receiver: launch.Receiver{
		Path: launch.NodeReceiver, Names: a.Names, Config: a.Config, Rules: a.Rules, Limits: a.Limits,
	}}
	o.Strategy, o.Force, o.NoAutoRepair = a.Strategy, a.Force, a.NoAutoRepair
	return o
}

// Again repairs a container whose sockets the host's service has lost. It does nothing if the
// container has ended, or if its receiver was ended or replaced meanwhile. It fails if the service
// ends meanwhile: the next one has the container repaired. A receiver of its own would end with
// this service's cgroup.
func Again(s lost.Saved) error {
	var a again
	if err := json.Unmarshal(s.Repair, &a); err != nil {
		return fmt.Errorf("cannot read what to repair again: %w", err)
	}
	t, err := target.OfProcess(s.Init.PID)
	if err != nil {
		return nil // it has ended
	}
	defer t.Close()
	if !s.Init.Runs() {
		return nil // another process has its ID
	}
	o := a.options()
	r, err := Check(t, o)
	if err != nil || r.Facts.Receiver.State != plan.Gone {
		return err
	}
	if _, err = Do(t, o); errors.As(err, new(*nodecall.Error)) { // the rules are others now, and it may not do what they ask
		o.Receiver.Path = launch.AutoReceiver
		_, err = Do(t, o)
	}
	return err
}

// Lost repairs the container with that number, whose file is in the directory (see package lost),
// and removes the file, unless the container could not be repaired.
func Lost(dir string, number uint64) error {
	s, err := lost.Read(dir, number)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has ended
	}
	if err == nil {
		err = Again(s)
	}
	if err != nil {
		return fmt.Errorf("cannot receive again for the container of process %d: %w", s.Init.PID, err)
	}
	// The service may use the number for another container by now.
	if now, rerr := lost.Read(dir, number); rerr == nil && now.Init == s.Init {
		return lost.Unsave(dir, number)
	}
	return nil
}

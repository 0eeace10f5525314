package repair

import (
	"encoding/json"
	"errors"
	"fmt"

	"devlog/internal/launch"
	"devlog/internal/nodecall"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/target"
)

// again is what a repair needs to be done again for a container of the host's service. Never
// rename a member: another version may read it.
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
// container has ended, or if its receiver was ended or replaced meanwhile.
func Again(s nodecall.Saved) error {
	var a again
	if err := json.Unmarshal(s.Repair, &a); err != nil {
		return fmt.Errorf("cannot read what to repair again: %w", err)
	}
	t, err := target.OfProcess(s.Init.PID)
	if err != nil {
		return nil // it has ended
	}
	defer t.Close()
	if started, err := pidfd.StartTime(s.Init.PID); err != nil || started != s.Init.Started {
		return nil // another process has its ID
	}
	o := a.options()
	r, err := Check(t, o)
	if err != nil || r.Facts.Receiver.State != plan.Gone {
		return err
	}
	_, err = Do(t, o)
	return err
}

// Lost repairs the containers with these numbers, whose files are in the directory (see
// nodecall.SavedDir), and removes the files. It joins the errors of single containers, whose files
// stay.
func Lost(dir string, numbers []uint64) error {
	all, err := nodecall.AllSaved(dir)
	for _, number := range numbers {
		s, ok := all[number]
		if !ok {
			continue // it has ended, or err has it
		}
		if aerr := Again(s); aerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot receive again for the container of process %d: %w", s.Init.PID, aerr))
			continue
		}
		err = errors.Join(err, nodecall.Unsave(dir, number))
	}
	return err
}

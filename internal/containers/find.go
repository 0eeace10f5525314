package containers

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// minPrefix is the shortest prefix of an ID, in digits.
const minPrefix = 4

// shortID is how many digits of a long ID are shown, as engines do.
const shortID = 12

// Find returns the container of the list with that ID or name. Otherwise it returns the
// container whose ID, in hexadecimal, has that prefix. A pod's container is
// NAMESPACE_POD_CONTAINER, NAMESPACE/POD/CONTAINER, or a part of that. The error is a
// *NotFoundError or an *AmbiguousError.
func Find(list []Container, name string) (Container, error) {
	for _, match := range []func(Container) bool{
		func(c Container) bool { return isLongID(c.ID) && c.ID == name },
		func(c Container) bool { return c.ID == name || slices.Contains(c.names(), name) },
		func(c Container) bool {
			return isLongID(c.ID) && len(name) >= minPrefix && strings.HasPrefix(c.ID, name)
		},
	} {
		var found []Container
		for _, c := range list {
			if match(c) {
				found = append(found, c)
			}
		}
		switch {
		case len(found) == 0 || name == "":
		case len(found) == 1:
			return found[0], nil
		default:
			return Container{}, &AmbiguousError{Name: name, Found: found}
		}
	}
	return Container{}, &NotFoundError{Name: name, running: list}
}

// names returns the names that people may use for it.
func (c Container) names() []string {
	if c.Sandbox {
		return nil
	}
	p := c.Pod
	if p.Name == "" {
		return []string{c.Name}
	}
	return []string{p.String(), p.Namespace + "/" + p.Name + "/" + p.Container, p.Namespace + "/" + p.Name, p.Name + "/" + p.Container, p.Name, p.Container}
}

// Short returns a long ID in the form that engines show.
func Short(id string) string {
	if isLongID(id) {
		return id[:shortID]
	}
	return id
}

// String describes the container for people.
func (c Container) String() string {
	words := cmp.Or(c.Engine, "container") + " " + Short(c.ID)
	if name := c.Called(); name != "" && name != c.ID {
		words += " " + name
	}
	return words + " (process " + strconv.Itoa(c.PID) + ")"
}

// AmbiguousError means that several containers have the name.
type AmbiguousError struct {
	Name  string
	Found []Container
}

func (e *AmbiguousError) Error() string {
	each := make([]string, 0, len(e.Found))
	for _, c := range e.Found {
		each = append(each, c.String())
	}
	return fmt.Sprintf("%d containers are called %q: %s; hint: give an ID, or a process with --pid", len(e.Found), e.Name, strings.Join(each, ", "))
}

// NotFoundError means that no container has the name.
type NotFoundError struct {
	Name string
	// Looked is where Find looked.
	Looked  Looked
	running []Container
}

// maxNamed is how many containers an error lists.
const maxNamed = 8

func (e *NotFoundError) Error() string {
	var named []string
	for _, c := range e.running {
		if !c.Sandbox && len(named) < maxNamed {
			named = append(named, cmp.Or(c.Called(), Short(c.ID)))
		}
	}
	running := "found no container"
	if len(named) > 0 {
		running = "found " + strings.Join(named, ", ")
		if more := len(e.running) - len(named); more > 0 {
			running += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("no running container is called %q: looked at %s, and %s; hint: give its process with --pid", e.Name, e.Looked.words(), running)
}

// Find returns the host's running container with that name; see the function Find.
func (h Host) Find(name string) (Container, error) {
	list, looked := h.List()
	c, err := Find(list, name)
	if missing, ok := err.(*NotFoundError); ok { //nolint:errorlint // Find does not wrap it
		missing.Looked = looked
	}
	return c, err
}

package containers

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// minPrefix is how many digits the beginning of an ID has at least.
const minPrefix = 4

// shortID is how many digits of a long ID people are shown, as engines do.
const shortID = 12

// Find returns the container of the list with that ID or name; or else the one whose ID,
// of hexadecimal digits, begins so. A pod's container is NAMESPACE_POD_CONTAINER,
// NAMESPACE/POD/CONTAINER, or less of that. The error is *NotFoundError or
// *AmbiguousError.
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

// names are the names that people may call it by.
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

// Short is the ID as engines show it to people, if it is a long one.
func Short(id string) string {
	if isLongID(id) {
		return id[:shortID]
	}
	return id
}

// String says which container it is, for people.
func (c Container) String() string {
	words := cmp.Or(c.Engine, "container") + " " + Short(c.ID)
	if name := c.Called(); name != "" && name != c.ID {
		words += " " + name
	}
	return words + " (process " + strconv.Itoa(c.PID) + ")"
}

// AmbiguousError is that several containers have the name.
type AmbiguousError struct {
	Name  string
	Found []Container
}

func (e *AmbiguousError) Error() string {
	each := make([]string, 0, len(e.Found))
	for _, c := range e.Found {
		each = append(each, c.String())
	}
	return fmt.Sprintf("%d containers are called %q: %s; give an ID, or a process with --pid", len(e.Found), e.Name, strings.Join(each, ", "))
}

// NotFoundError is that no container has the name.
type NotFoundError struct {
	Name string
	// Looked is where they were looked for.
	Looked  Looked
	running []Container
}

// maxNamed is how many containers an error names.
const maxNamed = 8

func (e *NotFoundError) Error() string {
	var named []string
	for _, c := range e.running {
		if !c.Sandbox && len(named) < maxNamed {
			named = append(named, cmp.Or(c.Called(), c.ID))
		}
	}
	running := "found no container"
	if len(named) > 0 {
		running = "found " + strings.Join(named, ", ")
		if more := len(e.running) - len(named); more > 0 {
			running += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("no running container is called %q: looked at %s, and %s; give its process with --pid", e.Name, e.Looked.words(), running)
}

// Find returns the host's running container with that name, as Find of a list does.
func (h Host) Find(name string) (Container, error) {
	list, looked := h.List()
	c, err := Find(list, name)
	if missing, ok := err.(*NotFoundError); ok { //nolint:errorlint // it is not wrapped
		missing.Looked = looked
	}
	return c, err
}

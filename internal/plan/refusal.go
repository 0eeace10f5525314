package plan

// Refusal is an error that says that nothing was done because it would not be
// safe, and what to do instead.
type Refusal struct {
	Reason, Advice string
}

func (r *Refusal) Error() string { return "refused: " + r.Reason + "; " + r.Advice }

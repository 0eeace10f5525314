package plan

// Refusal is the error for what would not be safe: nothing was changed. Advice says what to
// do instead.
type Refusal struct {
	Reason, Advice string
}

func (r *Refusal) Error() string { return "refused: " + r.Reason + "; hint: " + r.Advice }

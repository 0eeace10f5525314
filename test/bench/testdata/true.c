// The least that a hook can be.
int main(void) { return 0; }

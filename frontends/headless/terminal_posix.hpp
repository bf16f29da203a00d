#pragma once
// The terminal on standard input while a machine runs: raw, and put back on every way out,
// including fatal signals and abort(). That the terminal is the process's, and a signal handler has
// no other way to reach it, is why this file keeps static state.

namespace droste {

class RawTerminal {
  public:
    // Does nothing if standard input is no terminal. `keep_signals`: Ctrl-C still ends the program.
    explicit RawTerminal(bool keep_signals);
    ~RawTerminal();
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

    // Async-signal-safe.
    static void restore();
    // In the foreground again after SIGCONT.
    static void enter_again();
};

// Opens /dev/null for each of the descriptors 0 to 2 that is closed, so that no other file gets its
// number.
void occupy_standard_descriptors();

}  // namespace droste

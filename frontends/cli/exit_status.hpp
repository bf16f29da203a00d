#pragma once
// What the process's exit status says. Debug-exit statuses are odd, so ours are even where we can
// choose.

#include "frontends/machine/run_control.hpp"

#include <array>
#include <string_view>

namespace droste::cli {

enum ExitStatus : int {
    kExitPowerOff = 0,
    kExitUserError = 2,
    kExitTripleFault = 4,
    kExitUntilMissed = 6,
    kExitOutputClosed = 8,
    kExitNativeFailure = 10,
    kExitDifference = 12,
    kExitTimeout = 124,
    kExitSignalBase = 128,
};

struct ExitRow {
    std::string_view status;
    std::string_view meaning;
};
// For --help and docs/command-line.md.
inline constexpr std::array kExitRows = {
    ExitRow{"0", "the guest switched the machine off, or asked for a reset with -no-reboot;"},
    ExitRow{"", "--until's text appeared; or the user quit (Ctrl-A x)"},
    ExitRow{"(v<<1)|1", "the guest wrote v to isa-debug-exit"},
    ExitRow{"2",
            "wrong usage or input: one sentence on standard error says what; nothing was started"},
    ExitRow{"4", "triple fault: a CPU shut itself down, with -no-reboot"},
    ExitRow{"6", "the run ended by itself before --until's text appeared"},
    ExitRow{"8", "whoever read the standard output has closed it"},
    ExitRow{"10", "the native machine failed us (no memory, no terminal)"},
    ExitRow{"12", "--lockstep: translator and interpreter do not agree"},
    ExitRow{"124", "--timeout ran out"},
    ExitRow{"128+n", "ended by signal n"},
};

// `until_given`: --until was on the command line.
int exit_status_of(const RunControl& control, bool until_given);

}  // namespace droste::cli

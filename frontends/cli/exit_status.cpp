#include "frontends/cli/exit_status.hpp"

namespace droste::cli {

int exit_status_of(const RunControl& control, bool until_given) {
    const int by_itself = until_given ? kExitUntilMissed : kExitPowerOff;
    switch (control.reason()) {
    case EndReason::None:
    case EndReason::PowerOff:
    case EndReason::GuestReset: return by_itself;
    case EndReason::UntilMatched:
    case EndReason::Quit: return kExitPowerOff;
    case EndReason::TripleFault: return kExitTripleFault;
    case EndReason::DebugExit: return static_cast<int>(((control.value() << 1) | 1) & 0xFF);
    case EndReason::Timeout: return kExitTimeout;
    case EndReason::Signal: return kExitSignalBase + static_cast<int>(control.value());
    case EndReason::OutputClosed: return kExitOutputClosed;
    case EndReason::Difference: return kExitDifference;
    }
    return kExitNativeFailure;
}

}  // namespace droste::cli

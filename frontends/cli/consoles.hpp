#pragma once
// The character devices a command line asks for, opened and connected: terminal, files,
// pseudo-terminals, the Ctrl-A multiplexer and --until's watcher in front of each.

#include "core/error.hpp"
#include "frontends/cli/command_line.hpp"
#include "frontends/headless/console_mux.hpp"
#include "frontends/headless/fd_backend_posix.hpp"
#include "frontends/headless/poll_loop_posix.hpp"
#include "frontends/headless/terminal_posix.hpp"
#include "frontends/headless/text_watcher.hpp"
#include "frontends/machine/run_control.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace droste::cli {

class Consoles {
  public:
    // `warn` gets a sentence when something goes wrong while the machine runs.
    Consoles(PollLoop& loop, RunControl& control, std::function<void(const std::string&)> warn)
        : loop_(loop)
        , control_(control)
        , warn_(std::move(warn)) {}

    // Opens everything and fills in line.machine's backends.
    Expected<void> open(CommandLine& line);
    // Raw mode, from now until destruction. Called last, so that errors before it leave the
    // terminal alone.
    void enter_raw_mode();

    ConsoleMux* mux() { return mux_ ? &*mux_ : nullptr; }
    // Lines to print at the start ("char device redirected to ...").
    const std::vector<std::string>& notes() const { return notes_; }

  private:
    Expected<CharBackend*>
    open_one(const CharSpec& spec, std::string_view label, const std::string& until);
    Expected<CharBackend*> open_stdio(bool with_monitor);

    PollLoop& loop_;
    RunControl& control_;
    std::function<void(const std::string&)> warn_;
    std::vector<std::unique_ptr<FdBackend>> fd_backends_;
    FdBackend* stdio_ = nullptr;
    bool keep_signals_ = true;
    NullBackend null_;
    std::optional<ConsoleMux> mux_;
    std::vector<std::unique_ptr<TextWatcher>> watchers_;
    std::vector<std::string> notes_;
    std::optional<RawTerminal> raw_;
};

}  // namespace droste::cli

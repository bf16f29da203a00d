#include "frontends/cli/consoles.hpp"

#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

namespace droste::cli {

Expected<CharBackend*> Consoles::open_stdio(bool with_monitor) {
    if (stdio_ != nullptr) {
        return Error{"-serial stdio: the terminal is already taken by another port"};
    }
    auto backend = make_stdio_backend(loop_);
    if (!backend) {
        return backend.error();
    }
    fd_backends_.push_back(std::move(backend).value());
    stdio_ = fd_backends_.back().get();
    stdio_->set_on_output_closed(
        [this](int error) { control_.end(EndReason::OutputClosed, static_cast<u32>(error)); });
    const bool interactive = isatty(STDIN_FILENO) != 0;
    loop_.set_interactive(interactive);
    if (!with_monitor) {
        return static_cast<CharBackend*>(stdio_);
    }
    keep_signals_ = false;
    mux_.emplace(*stdio_, interactive, [this] { control_.end(EndReason::Quit); });
    return &mux_->guest_side();
}

Expected<CharBackend*>
Consoles::open_one(const CharSpec& spec, std::string_view label, const std::string& until) {
    CharBackend* backend = &null_;
    if (spec.kind == CharSpec::Kind::Stdio) {
        auto stdio = open_stdio(spec.with_monitor);
        if (!stdio) {
            return stdio;
        }
        backend = stdio.value();
    } else if (spec.kind == CharSpec::Kind::File || spec.kind == CharSpec::Kind::Pty) {
        std::string slave;
        auto opened = spec.kind == CharSpec::Kind::File ? make_file_backend(loop_, spec.path)
                                                        : make_pty_backend(loop_, slave);
        if (!opened) {
            return opened.error();
        }
        if (!slave.empty()) {
            notes_.push_back(fmt::format("char device redirected to {} (label {})", slave, label));
        }
        fd_backends_.push_back(std::move(opened).value());
        backend = fd_backends_.back().get();
        if (spec.kind == CharSpec::Kind::File) {
            fd_backends_.back()->set_on_output_closed([this, path = spec.path](int error) {
                warn_(fmt::format("{}: cannot write it: {}; what follows is lost", path,
                                  std::strerror(error)));
            });
        }
    }
    if (!until.empty()) {
        watchers_.push_back(std::make_unique<TextWatcher>(
            *backend, until, [this] { control_.end(EndReason::UntilMatched); }));
        backend = watchers_.back().get();
    }
    return backend;
}

Expected<void> Consoles::open(CommandLine& line) {
    for (std::size_t i = 0; i < line.serials.size(); ++i) {
        if (line.serials[i].kind == CharSpec::Kind::None) {
            continue;
        }
        const auto backend = open_one(line.serials[i], fmt::format("serial{}", i), line.until);
        if (!backend) {
            return backend.error();
        }
        line.machine.serial[i] = backend.value();
    }
    for (const DebugConsoleSpec& spec : line.debug_consoles) {
        if (spec.chars.kind == CharSpec::Kind::None) {
            continue;
        }
        const auto backend = open_one(spec.chars, "debugcon", line.until);
        if (!backend) {
            return backend.error();
        }
        DeviceRequest request = debug_console_request(spec.port, *backend.value());
        if (!spec.id.empty()) {
            request.id = spec.id;
        }
        line.machine.devices.push_back(std::move(request));
    }
    return {};
}

void Consoles::enter_raw_mode() {
    if (stdio_ != nullptr) {
        raw_.emplace(keep_signals_);
    }
}

}  // namespace droste::cli

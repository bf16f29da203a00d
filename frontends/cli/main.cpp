// The droste program: command line -> machine -> run -> exit status.

#include "frontends/cli/command_line.hpp"
#include "frontends/cli/consoles.hpp"
#include "frontends/cli/exit_status.hpp"
#include "frontends/cli/nested_command.hpp"
#include "frontends/debugger/lockstep.hpp"
#include "frontends/debugger/profiles.hpp"
#include "frontends/debugger/translation_watch.hpp"
#include "frontends/headless/log_file_posix.hpp"
#include "frontends/headless/machine_report.hpp"
#include "frontends/headless/monitor.hpp"
#include "frontends/headless/poll_loop_posix.hpp"
#include "frontends/headless/signals_posix.hpp"
#include "frontends/headless/terminal_posix.hpp"
#include "frontends/machine/pc.hpp"
#include "frontends/machine/run_loop.hpp"
#include "frontends/machine/run_threads.hpp"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include <fmt/format.h>

namespace droste::cli {
namespace {

// Standard error may be closed or full: then there is nobody to tell, and no reason to fail.
void tell(const std::string& text) {
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

int user_error(const Error& error) {
    tell(fmt::format("droste: {}\n", error.message));
    return error.native ? kExitNativeFailure : kExitUserError;
}

Expected<CommandLine> read_command_line(int argc, char** argv) {
    const std::vector<std::string_view> arguments(argv + 1, argv + argc);
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    return parse_command_line(arguments, static_cast<i64>(now), static_cast<i64>(local.tm_gmtoff));
}

void warn(const std::string& sentence) {
    tell(fmt::format("droste: {}\n", sentence));
}

// Null without -D.
Expected<std::unique_ptr<LogFile>> open_log(const CommandLine& line, Log& log) {
    std::unique_ptr<LogFile> file;
    if (!line.log_file.empty()) {
        auto opened = LogFile::open(line.log_file, line.log_limit_bytes, warn);
        if (!opened) {
            return opened.error();
        }
        file = std::move(opened).value();
        log.set_sink(file->stream());
    }
    for (const std::string& item : line.log_items) {
        log.enable_by_name(item);
    }
    return file;
}

std::string end_message(const RunControl& control) {
    switch (control.reason()) {
    case EndReason::TripleFault: return "triple fault: a CPU shut itself down";
    case EndReason::Timeout: return "--timeout ran out";
    case EndReason::OutputClosed:
        return fmt::format("standard output was closed ({}), the machine was stopped",
                           std::strerror(static_cast<int>(control.value())));
    case EndReason::Signal: return fmt::format("ended by signal {}", control.value());
    default: return "";
    }
}

std::string verbose_end_message(const RunControl& control) {
    switch (control.reason()) {
    case EndReason::PowerOff: return "the guest switched the machine off";
    case EndReason::GuestReset: return "the guest asked for a reset";
    case EndReason::DebugExit:
        return fmt::format("the guest wrote {:#x} to isa-debug-exit", control.value());
    case EndReason::UntilMatched: return "--until's text appeared";
    case EndReason::Quit: return "ended by the user";
    default: return end_message(control);
    }
}

void report_end(const CommandLine& line, const RunControl& control, int status) {
    const std::string prefix = line.name.empty() ? "droste" : fmt::format("droste ({})", line.name);
    const std::string message = line.verbose ? verbose_end_message(control) : end_message(control);
    if (!message.empty()) {
        tell(fmt::format("{}: {}\n", prefix, message));
    }
    if (status == kExitUntilMissed) {
        tell(fmt::format("{}: the run ended before --until's text appeared\n", prefix));
    }
}

// What listens to the translator, as the command line asks for it.
class Listeners {
  public:
    Expected<void> open(const CommandLine& line, Log& log, const VmxExplainer& explainer) {
        const auto name = [&explainer](const Vcpu& cpu, u64 rip) {
            return explainer.name_of_code(cpu, rip);
        };
        if (TranslationLog::wanted(log)) {
            all_.add(log_.emplace(log));
        }
        if (line.perf_map) {
            auto map = PerfMap::create(name);
            if (!map) {
                return map.error();
            }
            map_ = std::move(map).value();
            all_.add(*map_);
        }
        if (!line.jitdump_directory.empty()) {
            auto dump = JitDump::create(line.jitdump_directory, name);
            if (!dump) {
                return dump.error();
            }
            dump_ = std::move(dump).value();
            all_.add(*dump_);
        }
        return {};
    }
    void add(jit::Listener& listener) { all_.add(listener); }
    // Null: nobody.
    jit::Listener* all() { return all_.empty() ? nullptr : &all_; }

  private:
    TranslationListeners all_;
    std::optional<TranslationLog> log_;
    std::unique_ptr<PerfMap> map_;
    std::unique_ptr<JitDump> dump_;
};

// Everything from a parsed command line on.
int run(CommandLine& line) {
    Log log;
    const auto log_file = open_log(line, log);
    if (!log_file) {
        return user_error(log_file.error());
    }
    const auto explainer = VmxExplainer::open(line.explain);
    if (!explainer) {
        return user_error(explainer.error());
    }
    RunControl control;
    PollLoop loop;
    EndingSignals signals(control);
    loop.add(signals);
    std::chrono::steady_clock::time_point start;
    std::string statistics;
    std::vector<std::string> explanation_notes;
    std::string difference;
    {
        Consoles consoles(loop, control, warn);
        Listeners listeners;
        if (const auto opened = listeners.open(line, log, *explainer.value()); !opened) {
            return user_error(opened.error());
        }
        std::optional<Lockstep> lockstep;
        if (line.lockstep.on) {
            lockstep.emplace(line.lockstep, line.machine);
            line.machine.translator.link = !line.lockstep.each;
            listeners.add(*lockstep);
        }
        line.machine.translator.listener = listeners.all();
        if (const auto opened = consoles.open(line); !opened) {
            return user_error(opened.error());
        }
        if (lockstep) {
            lockstep->connect(line.machine);
            for (const DebugConsoleSpec& spec : line.debug_consoles) {
                if (spec.chars.kind != CharSpec::Kind::None) {
                    lockstep->add_debug_console(spec.port, spec.id);
                }
            }
        }
        const auto created = Pc::create(line.machine, log, control);
        if (!created) {
            return user_error(created.error());
        }
        Pc& pc = *created.value();
        explainer.value()->attach(pc);
        if (lockstep) {
            if (const auto started = lockstep->start(pc, control); !started) {
                return user_error(started.error());
            }
        }
        for (const std::string& note : consoles.notes()) {
            tell(fmt::format("{}\n", note));
        }
        if (line.verbose) {
            for (const std::string& note : pc.boot_notes()) {
                tell(fmt::format("{}\n", note));
            }
        }
        std::optional<Monitor> monitor;
        if (consoles.mux() != nullptr) {
            monitor.emplace(consoles.mux()->monitor_side(), pc, control);
            consoles.mux()->set_on_monitor_focus([&] { monitor->prompt(); });
        }
        const RunLimits limits = {line.timeout, !line.no_reboot, !line.no_shutdown};
        control.set_paused(line.start_paused);
        consoles.enter_raw_mode();
        start = std::chrono::steady_clock::now();
        if (pc.lock() != nullptr) {
            RunThreads threads(pc, loop, control, limits);
            if (const auto ran = threads.run(); !ran) {
                return user_error(ran.error());
            }
        } else {
            RunLoop run_loop(pc, loop, control, limits);
            run_loop.set_shadow(lockstep ? &*lockstep : nullptr);
            run_loop.run();
        }
        explanation_notes = explainer.value()->detach();
        if (lockstep) {
            lockstep->finish();
            explanation_notes.push_back(lockstep->summary());
            difference = lockstep->report();
            if (!difference.empty()) {
                difference += "\nTranslator:\n" + describe_registers(pc) + "\nInterpreter:\n" +
                              describe_registers(lockstep->follower());
            }
        }
        if (line.stats) {
            statistics = describe_counters(pc, std::chrono::steady_clock::now() - start);
        }
    }
    const int status = difference.empty() ? exit_status_of(control, !line.until.empty())
                                          : static_cast<int>(kExitDifference);
    std::fflush(stdout);
    report_end(line, control, status);
    for (const std::string& note : explanation_notes) {
        tell(fmt::format("droste: {}\n", note));
    }
    tell(difference);
    tell(statistics);
    return status;
}

int print_answer(const std::string& answer, int status) {
    const bool printed = std::fwrite(answer.data(), 1, answer.size(), stdout) == answer.size();
    return printed && std::fflush(stdout) == 0 ? status : static_cast<int>(kExitOutputClosed);
}

// droste nested ...
int nested(int argc, char** argv) {
    const std::vector<std::string_view> arguments(argv + 2, argv + argc);
    const auto answer = nested_command(arguments);
    if (!answer) {
        return user_error(answer.error());
    }
    tell(answer.value().remarks);
    return print_answer(answer.value().output, answer.value().status);
}

int main_or_throw(int argc, char** argv) {
    occupy_standard_descriptors();
    if (argc > 1 && std::string_view(argv[1]) == "nested") {
        return nested(argc, argv);
    }
    auto line = read_command_line(argc, argv);
    if (!line) {
        return user_error(line.error());
    }
    if (!line.value().answer.empty()) {
        return print_answer(line.value().answer, kExitPowerOff);
    }
    for (const std::string& warning : line.value().warnings) {
        tell(fmt::format("droste: warning: {}\n", warning));
    }
    return run(line.value());
}

}  // namespace
}  // namespace droste::cli

int main(int argc, char** argv) {
    try {
        return droste::cli::main_or_throw(argc, argv);
    } catch (const std::bad_alloc&) {
        std::fputs("droste: the native machine has no more memory for us\n", stderr);
        return droste::cli::kExitNativeFailure;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "droste: the native machine failed: %s\n", error.what());
        return droste::cli::kExitNativeFailure;
    }
}

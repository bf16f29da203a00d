#include "frontends/debugger/vmx_explainer.hpp"

#include "frontends/debugger/guest_code.hpp"
#include "frontends/machine/image_file.hpp"
#include "frontends/machine/pc.hpp"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace droste {

namespace {

// A kernel with debugging information is a few hundred MiB.
constexpr u64 kMostSymbolFileBytes = u64{1} << 30;
// A hypervisor that tries for ever gets so many dumps.
constexpr u64 kMostDumps = 1000;

bool is_standard_stream(const std::string& path) {
    return path.empty() || path == "-";
}

}  // namespace

void VmxExplainer::FileCloser::operator()(std::FILE* file) const {
    std::fclose(file);
}

Expected<std::FILE*>
VmxExplainer::open_output(std::string_view option, const std::string& path, FileHandle& own) {
    if (is_standard_stream(path)) {
        return options_.console_on_stdout ? stderr : stdout;
    }
    own.reset(std::fopen(path.c_str(), "we"));
    if (!own) {
        return Error{fmt::format("{} {}: cannot write it: {}", option, path, std::strerror(errno))};
    }
    return own.get();
}

Expected<std::unique_ptr<VmxExplainer>> VmxExplainer::open(const ExplainOptions& options) {
    std::unique_ptr<VmxExplainer> self(new VmxExplainer);
    self->options_ = options;
    for (const SymbolFileOptions& file : options.symbols) {
        const auto bytes =
            read_image_file("symbols", file.path, kMostSymbolFileBytes, LimitIs::Fixed);
        if (!bytes) {
            return bytes.error();
        }
        auto table = SymbolTable::parse(bytes.value(), file.path);
        if (!table) {
            return table.error();
        }
        self->symbols_.add(file.level, std::move(table).value(), file.offset);
    }
    if (options.exit_trace) {
        const auto out =
            self->open_output("--vmexit-trace", options.exit_trace->path, self->trace_file_);
        if (!out) {
            return out.error();
        }
        self->trace_out_ = out.value();
    }
    if (options.vmcs_dump) {
        const auto out = self->open_output("--vmcs-dump", *options.vmcs_dump, self->dump_file_);
        if (!out) {
            return out.error();
        }
        self->dump_out_ = out.value();
    }
    return self;
}

VmxExplainer::~VmxExplainer() {
    (void)detach();
}

void VmxExplainer::attach(Pc& pc) {
    pc_ = &pc;
    if (trace_out_ != nullptr) {
        using Format = ExitTraceOptions::Format;
        const ExitTraceOptions& trace = *options_.exit_trace;
        const bool json = trace.format == Format::Json ||
                          (trace.format == Format::ByName && trace.path.ends_with(".json"));
        DescribeRip describe = [this](u32 vcpu, unsigned level, u64 rip) {
            return describe_rip(vcpu, level, rip);
        };
        if (json) {
            writer_ = std::make_unique<ChromeExitTrace>(trace_out_, std::move(describe),
                                                        trace.limit_bytes);
        } else {
            writer_ =
                std::make_unique<TextExitTrace>(trace_out_, std::move(describe), trace.limit_bytes);
        }
    }
    for (const auto& vmx : pc.vmx()) {
        vmx->trace.set_sink(writer_.get());
        if (!symbols_.empty()) {
            vmx->name_of_code = [this](unsigned level, u64 rip) {
                return symbols_.describe(level, rip);
            };
        }
        if (dump_out_ != nullptr) {
            vmx->dump_failed_entries = true;
            vmx->failed_entry_sink = this;
        }
    }
}

std::vector<std::string> VmxExplainer::detach() {
    std::vector<std::string> notes;
    if (pc_ == nullptr) {
        return notes;
    }
    for (const auto& vmx : pc_->vmx()) {
        vmx->trace.set_sink(nullptr);
        vmx->name_of_code = nullptr;
        vmx->failed_entry_sink = nullptr;
        vmx->dump_failed_entries = false;
    }
    pc_ = nullptr;
    if (writer_ != nullptr) {
        writer_->finish();
        errno = 0;
        const bool flushed = std::fflush(trace_out_) == 0;
        if (writer_->error() != 0 || !flushed) {
            const int error = writer_->error() != 0 ? writer_->error() : errno;
            notes.push_back(
                fmt::format("--vmexit-trace {}: writing failed, the trace is incomplete: {}",
                            options_.exit_trace->path, std::strerror(error)));
        } else if (writer_->dropped_exits() != 0) {
            notes.push_back(fmt::format(
                "--vmexit-trace {}: it ended at its limit (limit=), {} more VM exits are not in it",
                options_.exit_trace->path, writer_->dropped_exits()));
        }
        writer_.reset();
    }
    if (dump_out_ != nullptr) {
        if (repeated_ != 0) {
            fmt::print(dump_out_, "the same again, {} times\n", repeated_);
        }
        if (std::fflush(dump_out_) != 0) {
            notes.push_back(fmt::format("--vmcs-dump {}: writing failed: {}", *options_.vmcs_dump,
                                        std::strerror(errno)));
        }
    }
    return notes;
}

void VmxExplainer::failed_entry(const std::string& explanation, const std::string& dump) {
    if (explanation == last_explanation_) {
        ++repeated_;
        return;
    }
    if (++dumps_ > kMostDumps) {
        if (dumps_ == kMostDumps + 1) {
            fmt::print(dump_out_, "{} failed VM entries have been dumped, no more are\n",
                       kMostDumps);
        }
        return;
    }
    if (repeated_ != 0) {
        fmt::print(dump_out_, "the same again, {} times\n\n", repeated_);
        repeated_ = 0;
    }
    last_explanation_ = explanation;
    fmt::print(dump_out_, "{}\n{}\n", explanation, dump);
    std::fflush(dump_out_);
}

// "mov cr3, rax <switch_mm+0x12>"
std::string VmxExplainer::name_of_code(const Vcpu& cpu, u64 rip) const {
    const bool has_vmx = pc_ != nullptr && !pc_->vmx().empty();
    return symbols_.describe(has_vmx ? pc_->vmx()[cpu.index]->trace.current_level() : 1, rip);
}

std::string VmxExplainer::describe_rip(u32 vcpu, unsigned level, u64 rip) {
    Vcpu& cpu = *pc_->vcpus()[vcpu];
    const CodeBytes code = fetch_code(cpu, rip);
    std::string text = disassembler_.text(std::span<const u8>(code.bytes).first(code.count),
                                          cpu.mode.code_bits, rip);
    if (const std::string symbol = symbols_.describe(level, rip); !symbol.empty()) {
        text += fmt::format("{}<{}>", text.empty() ? "" : " ", symbol);
    }
    return text;
}

}  // namespace droste

#pragma once
// What explains VMX to the user of the program: the VM-exit trace (--vmexit-trace), symbols
// (--symbols) and VMCS dumps (--vmcs-dump), from options to files.

#include "core/error.hpp"
#include "core/types.hpp"
#include "cpu/vmx/explain/exit_trace_writers.hpp"
#include "frontends/debugger/disassembler.hpp"
#include "frontends/debugger/symbols.hpp"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace droste {

class Pc;

struct ExitTraceOptions {
    enum class Format : u8 { ByName /* JSON if the name ends in .json */, Text, Json };
    std::string path;  // "-": a standard stream
    Format format = Format::ByName;
    u64 limit_bytes = u64{1} << 30;  // 0: none
};

struct SymbolFileOptions {
    unsigned level = 1;
    std::string path;
    u64 offset = 0;
};

struct ExplainOptions {
    std::optional<ExitTraceOptions> exit_trace;
    std::vector<SymbolFileOptions> symbols;
    std::optional<std::string> vmcs_dump;  // a file; "-" or empty: a standard stream
    // The guest's console has the standard output: then "-" is standard error.
    bool console_on_stdout = false;

    bool wants_vmx() const { return exit_trace || vmcs_dump || !symbols.empty(); }
};

// Files are opened (and symbols read) before the machine exists, so that what is wrong with them is
// said before anything starts.
class VmxExplainer final : public FailedEntrySink {
  public:
    static Expected<std::unique_ptr<VmxExplainer>> open(const ExplainOptions& options);
    ~VmxExplainer() override;

    // Borrows the machine until detach().
    void attach(Pc& pc);
    // Ends the trace: its file is complete now. Returns what the user should know, a line each.
    std::vector<std::string> detach();

    // The symbol at an address of the code that this vCPU executes now; may be empty.
    std::string name_of_code(const Vcpu& cpu, u64 rip) const;

    void failed_entry(const std::string& explanation, const std::string& dump) override;

  private:
    struct FileCloser {
        void operator()(std::FILE* file) const;
    };
    using FileHandle = std::unique_ptr<std::FILE, FileCloser>;

    VmxExplainer() = default;
    Expected<std::FILE*>
    open_output(std::string_view option, const std::string& path, FileHandle& own);
    std::string describe_rip(u32 vcpu, unsigned level, u64 rip);

    ExplainOptions options_;
    Pc* pc_ = nullptr;
    Disassembler disassembler_;
    Symbols symbols_;
    FileHandle trace_file_, dump_file_;
    std::FILE* trace_out_ = nullptr;
    std::FILE* dump_out_ = nullptr;
    std::unique_ptr<ExitTraceWriter> writer_;
    std::string last_explanation_;
    u64 dumps_ = 0, repeated_ = 0;
};

}  // namespace droste

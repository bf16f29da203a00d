#pragma once
// Sinks that write the VM-exit trace: lines of text, or Chrome trace events that Perfetto and
// chrome://tracing open.

#include "cpu/vmx/exit_trace.hpp"

#include <cstdio>
#include <functional>
#include <string>

namespace droste {

// Says what lies at a guest RIP ("mov cr3, rax  <switch_mm+12>"); frontends have disassembler and
// symbols, we have not. Called while the guest's address space is still current. May be empty.
using DescribeRip = std::function<std::string(u32 vcpu, unsigned level, u64 rip)>;

class TextExitTrace final : public VmExitSink {
  public:
    // Borrows `file`.
    explicit TextExitTrace(std::FILE* file, DescribeRip describe_rip = {});
    void vm_exit(const VmExitRecord& record) override;
    void vm_entry(const VmExitRecord& last_exit,
                  unsigned level,
                  u64 instructions,
                  u64 ns,
                  u64 now_ns) override;

  private:
    std::FILE* file_;
    DescribeRip describe_rip_;
    bool line_open_ = false;
};

// One duration event for each stay in a guest, one for each stretch of its hypervisor, on a track
// per vCPU and level.
class ChromeExitTrace final : public VmExitSink {
  public:
    explicit ChromeExitTrace(std::FILE* file, DescribeRip describe_rip = {});
    ~ChromeExitTrace() override;  // closes the JSON array
    void vm_exit(const VmExitRecord& record) override;
    void vm_entry(const VmExitRecord& last_exit,
                  unsigned level,
                  u64 instructions,
                  u64 ns,
                  u64 now_ns) override;

  private:
    void event(const std::string& json);

    std::FILE* file_;
    DescribeRip describe_rip_;
    bool first_ = true;
};

}  // namespace droste

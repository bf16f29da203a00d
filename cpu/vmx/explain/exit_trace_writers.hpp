#pragma once
// Sinks that write the VM-exit trace: lines of text, or Chrome trace events that Perfetto and
// chrome://tracing open.
//
// Nothing is collected: an exit is written when the next VM entry has told what it cost, through
// the stream's buffer. A trace ends by itself at its limit, with a last word that says so, and a
// full disk ends it, too; the run goes on. What finish() writes makes the file complete, however
// the run ended.

#include "cpu/vmx/explain/exit_trace.hpp"

#include <cstdio>
#include <functional>
#include <map>
#include <string>

namespace droste {

// Says what lies at a guest RIP ("mov cr3, rax  <switch_mm+12>"); frontends have disassembler and
// symbols, we have not. Called while the guest's address space is still current. May be empty.
using DescribeRip = std::function<std::string(u32 vcpu, unsigned level, u64 rip)>;

class ExitTraceWriter : public VmExitSink {
  public:
    // Borrows `file`. `limit_bytes`: what the file may grow to, about; 0: no limit.
    ExitTraceWriter(std::FILE* file, DescribeRip describe_rip, u64 limit_bytes);

    // Closes what is open; nothing is written afterwards.
    virtual void finish() = 0;
    u64 written_bytes() const { return written_; }
    u64 dropped_exits() const { return dropped_; }
    int error() const { return error_; }  // errno of the write that failed, or 0

  protected:
    // False once the limit is reached or writing failed.
    bool room() const { return error_ == 0 && !finished_ && (limit_ == 0 || written_ < limit_); }
    void put(const std::string& text);
    void drop() { ++dropped_; }
    bool begin_finish();  // false: was finished before
    std::string at_rip(const VmExitRecord& record) const;

  private:
    std::FILE* file_;
    DescribeRip describe_rip_;
    u64 limit_;
    u64 written_ = 0, dropped_ = 0;
    int error_ = 0;
    bool finished_ = false;
};

class TextExitTrace final : public ExitTraceWriter {
  public:
    explicit TextExitTrace(std::FILE* file, DescribeRip describe_rip = {}, u64 limit_bytes = 0);
    ~TextExitTrace() override { finish(); }
    void vm_exit(const VmExitRecord& record) override;
    void vm_entry(const VmExitRecord& last_exit,
                  unsigned level,
                  u64 instructions,
                  u64 ns,
                  u64 now_ns) override;
    void finish() override;

  private:
    std::map<u32, std::string> open_;  // by vCPU: a line that waits for its VM entry
};

// One duration event for each stay in a guest, one for each stretch of its hypervisor, on a track
// per vCPU and level.
class ChromeExitTrace final : public ExitTraceWriter {
  public:
    explicit ChromeExitTrace(std::FILE* file, DescribeRip describe_rip = {}, u64 limit_bytes = 0);
    ~ChromeExitTrace() override { finish(); }
    void vm_exit(const VmExitRecord& record) override;
    void vm_entry(const VmExitRecord& last_exit,
                  unsigned level,
                  u64 instructions,
                  u64 ns,
                  u64 now_ns) override;
    void finish() override;

  private:
    void event(const std::string& json);
    void name_tracks(u32 vcpu, unsigned level);

    std::map<u32, u32> named_;  // by vCPU: levels whose track has its name
    u64 last_ns_ = 0;
    bool first_ = true;
};

}  // namespace droste

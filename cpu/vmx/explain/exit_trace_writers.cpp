#include "cpu/vmx/explain/exit_trace_writers.hpp"

#include "cpu/vmx/explain/exit_describe.hpp"

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace droste {

namespace {

// Symbols come from files: anything may be in them.
std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += byte < 0x20 || byte >= 0x7F ? '?' : c;
    }
    return out;
}

double microseconds(u64 ns) {
    return static_cast<double>(ns) / 1000.0;
}

// One nanosecond short: viewers that add start and duration in floating point would otherwise find
// an event inside the one that ended where it begins.
double shown_duration(u64 ns) {
    return microseconds(ns == 0 ? 0 : ns - 1);
}

// The deepest level that is counted stands for all below it, too.
std::string_view deepest_mark(unsigned level) {
    return level == kMaxLevels - 1 ? "+" : "";
}

}  // namespace

ExitTraceWriter::ExitTraceWriter(std::FILE* file, DescribeRip describe_rip, u64 limit_bytes)
    : file_(file)
    , describe_rip_(std::move(describe_rip))
    , limit_(limit_bytes) {}

void ExitTraceWriter::put(const std::string& text) {
    if (error_ != 0) {
        return;
    }
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) {
        error_ = errno != 0 ? errno : EIO;
        return;
    }
    written_ += text.size();
}

bool ExitTraceWriter::begin_finish() {
    return !std::exchange(finished_, true);
}

std::string ExitTraceWriter::at_rip(const VmExitRecord& record) const {
    // A guest that could not be entered has no address space to look into.
    return describe_rip_ && !record.entry_failure
               ? describe_rip_(record.vcpu, record.level, record.guest_rip)
               : std::string();
}

TextExitTrace::TextExitTrace(std::FILE* file, DescribeRip describe_rip, u64 limit_bytes)
    : ExitTraceWriter(file, std::move(describe_rip), limit_bytes) {}

void TextExitTrace::vm_exit(const VmExitRecord& record) {
    std::string& line = open_[record.vcpu];
    if (!line.empty()) {
        put(line + "\n");
        line.clear();
    }
    if (!room()) {
        drop();
        return;
    }
    line = fmt::format("{:14.3f} us vCPU {} L{}{} {}{}", microseconds(record.exit_ns), record.vcpu,
                       record.level, deepest_mark(record.level),
                       record.entry_failure ? "VM entry failed: " : "", name_of(record.reason));
    if (const std::string words = describe_exit(record); !words.empty()) {
        line += fmt::format(" ({})", words);
    }
    line += fmt::format(" rip {:#x}", record.guest_rip);
    if (const std::string text = at_rip(record); !text.empty()) {
        line += fmt::format(" [{}]", text);
    }
    line += fmt::format(" after {} instructions", record.guest_instructions);
}

void TextExitTrace::vm_entry(
    const VmExitRecord& last_exit, unsigned level, u64 instructions, u64 ns, u64 /*now_ns*/) {
    std::string& line = open_[last_exit.vcpu];
    if (!line.empty()) {
        put(line + fmt::format("; back in L{}{} after {} instructions, {} ns\n", level,
                               deepest_mark(level), instructions, ns));
        line.clear();
    }
}

void TextExitTrace::finish() {
    if (!begin_finish()) {
        return;
    }
    for (auto& [vcpu, line] : open_) {
        if (!line.empty()) {
            put(line + "\n");
        }
    }
    if (dropped_exits() != 0) {
        put(fmt::format("the trace ended at its limit; {} more VM exits are not in it\n",
                        dropped_exits()));
    }
}

ChromeExitTrace::ChromeExitTrace(std::FILE* file, DescribeRip describe_rip, u64 limit_bytes)
    : ExitTraceWriter(file, std::move(describe_rip), limit_bytes) {
    put("[\n");
}

void ChromeExitTrace::event(const std::string& json) {
    put((first_ ? "" : ",\n") + json);
    first_ = false;
}

void ChromeExitTrace::name_tracks(u32 vcpu, unsigned level) {
    u32& named = named_[vcpu];
    if (named == 0) {
        named = 1U << 1;
        event(fmt::format(
            R"({{"name":"process_name","ph":"M","pid":{0},"args":{{"name":"vCPU {0}"}}}})", vcpu));
        event(fmt::format(
            R"({{"name":"thread_name","ph":"M","pid":{},"tid":1,"args":{{"name":"L1 hypervisor"}}}})",
            vcpu));
    }
    if ((named & 1U << level) == 0) {
        named |= 1U << level;
        event(fmt::format(
            R"({{"name":"thread_name","ph":"M","pid":{},"tid":{},"args":{{"name":"L{}{} guest"}}}})",
            vcpu, level, level, deepest_mark(level)));
    }
}

void ChromeExitTrace::vm_exit(const VmExitRecord& record) {
    if (!room()) {
        drop();
        return;
    }
    last_ns_ = record.exit_ns;
    name_tracks(record.vcpu, record.level);
    const std::string words = describe_exit(record);
    event(fmt::format(
        R"({{"name":"{}","cat":"guest","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},)"
        R"("args":{{"exit":"{}","qualification":"{}","rip":"{:#x}","at":"{}","instructions":{},)"
        R"("vmcs":"{:#x}"}}}})",
        record.entry_failure ? "VM entry failed" : fmt::format("L{} guest", record.level),
        record.vcpu, record.level, microseconds(record.exit_ns - record.guest_ns),
        shown_duration(record.guest_ns), name_of(record.reason), escaped(words), record.guest_rip,
        escaped(at_rip(record)), record.guest_instructions, record.vmcs_pointer));
}

void ChromeExitTrace::vm_entry(
    const VmExitRecord& last_exit, unsigned level, u64 instructions, u64 ns, u64 /*now_ns*/) {
    if (!room()) {
        return;
    }
    event(fmt::format(
        R"({{"name":"{}","cat":"exit","ph":"X","pid":{},"tid":1,"ts":{:.3f},"dur":{:.3f},)"
        R"("args":{{"from":"L{}","to":"L{}","instructions":{}}}}})",
        name_of(last_exit.reason), last_exit.vcpu, microseconds(last_exit.exit_ns),
        shown_duration(ns), last_exit.level, level, instructions));
}

void ChromeExitTrace::finish() {
    if (!begin_finish()) {
        return;
    }
    if (dropped_exits() != 0) {
        event(fmt::format(R"({{"name":"the trace ended at its limit","ph":"i","s":"g","pid":0,)"
                          R"("tid":1,"ts":{:.3f},"args":{{"VM exits not in it":{}}}}})",
                          microseconds(last_ns_), dropped_exits()));
    }
    put("\n]\n");
}

}  // namespace droste

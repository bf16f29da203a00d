#include "cpu/vmx/exit_trace_writers.hpp"

#include "cpu/vmx/exit_describe.hpp"

#include <utility>

#include <fmt/format.h>

namespace droste {

namespace {

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out;
}

double microseconds(u64 ns) {
    return static_cast<double>(ns) / 1000.0;
}

std::string at_rip(const DescribeRip& describe, const VmExitRecord& record) {
    return describe ? describe(record.vcpu, record.level, record.guest_rip) : std::string();
}

}  // namespace

TextExitTrace::TextExitTrace(std::FILE* file, DescribeRip describe_rip)
    : file_(file)
    , describe_rip_(std::move(describe_rip)) {}

void TextExitTrace::vm_exit(const VmExitRecord& record) {
    if (line_open_) {
        std::fputc('\n', file_);
    }
    fmt::print(file_, "{:14.3f} us vCPU {} L{} {}{}", microseconds(record.exit_ns), record.vcpu,
               record.level, record.entry_failure ? "VM entry failed: " : "",
               name_of(record.reason));
    if (const std::string words =
            describe_qualification(record.reason, record.qualification, *record.vmcs);
        !words.empty()) {
        fmt::print(file_, " ({})", words);
    }
    fmt::print(file_, " rip {:#x}", record.guest_rip);
    if (const std::string text = at_rip(describe_rip_, record); !text.empty()) {
        fmt::print(file_, " [{}]", text);
    }
    fmt::print(file_, " after {} instructions", record.guest_instructions);
    line_open_ = true;
}

void TextExitTrace::vm_entry(
    const VmExitRecord& /*last_exit*/, unsigned level, u64 instructions, u64 ns, u64 /*now_ns*/) {
    if (line_open_) {
        fmt::print(file_, "; back in L{} after {} instructions, {} ns\n", level, instructions, ns);
        line_open_ = false;
    }
}

ChromeExitTrace::ChromeExitTrace(std::FILE* file, DescribeRip describe_rip)
    : file_(file)
    , describe_rip_(std::move(describe_rip)) {
    std::fputs("[\n", file_);
}

ChromeExitTrace::~ChromeExitTrace() {
    std::fputs("\n]\n", file_);
    std::fflush(file_);
}

void ChromeExitTrace::event(const std::string& json) {
    fmt::print(file_, "{}{}", first_ ? "" : ",\n", json);
    first_ = false;
}

void ChromeExitTrace::vm_exit(const VmExitRecord& record) {
    const std::string words =
        describe_qualification(record.reason, record.qualification, *record.vmcs);
    event(fmt::format(
        R"({{"name":"L{} guest","cat":"guest","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},)"
        R"("args":{{"exit":"{}","qualification":"{}","rip":"{:#x}","at":"{}","instructions":{}}}}})",
        record.level, record.vcpu, record.level, microseconds(record.exit_ns - record.guest_ns),
        microseconds(record.guest_ns), name_of(record.reason), escaped(words), record.guest_rip,
        escaped(at_rip(describe_rip_, record)), record.guest_instructions));
}

void ChromeExitTrace::vm_entry(
    const VmExitRecord& last_exit, unsigned level, u64 instructions, u64 ns, u64 /*now_ns*/) {
    event(fmt::format(
        R"({{"name":"{}","cat":"exit","ph":"X","pid":{},"tid":1,"ts":{:.3f},"dur":{:.3f},)"
        R"("args":{{"from":"L{}","to":"L{}","instructions":{}}}}})",
        name_of(last_exit.reason), last_exit.vcpu, microseconds(last_exit.exit_ns),
        microseconds(ns), last_exit.level, level, instructions));
}

}  // namespace droste

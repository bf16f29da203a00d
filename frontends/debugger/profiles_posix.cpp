#include "core/types.hpp"
#include "frontends/debugger/profiles.hpp"

#include <cerrno>
#include <cstring>
#include <ctime>

#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace droste {

namespace {

std::string name_of_translation(const NameOfCode& name_of, const Vcpu& cpu, u64 rip) {
    const std::string symbol = name_of(cpu, rip);
    return symbol.empty() ? fmt::format("guest {:#x}", rip)
                          : fmt::format("{} [guest {:#x}]", symbol, rip);
}

Error cannot_write(std::string_view option, const std::string& path) {
    return Error{fmt::format("{}: cannot write {}: {}", option, path, std::strerror(errno))};
}

// perf record -k mono: the clock of samples and dump must be one.
u64 now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

struct DumpHeader {
    u32 magic = 0x4A69'5444;  // "JiTD"
    u32 version = 1;
    u32 bytes = sizeof(DumpHeader);
    u32 machine = EM_X86_64;
    u32 padding = 0;
    u32 pid = 0;
    u64 timestamp = 0;
    u64 flags = 0;
};
static_assert(sizeof(DumpHeader) == 40);

// JIT_CODE_LOAD, up to the name.
struct CodeLoad {
    u32 id = 0;
    u32 bytes = 0;
    u64 timestamp = 0;
    u32 pid = 0;
    u32 thread = 0;
    u64 address = 0;
    u64 code_address = 0;
    u64 code_bytes = 0;
    u64 number = 0;
};
static_assert(sizeof(CodeLoad) == 56);

}  // namespace

void PerfMap::Close::operator()(std::FILE* file) const {
    std::fclose(file);
}

PerfMap::PerfMap(std::FILE* file, NameOfCode name_of) : file_(file), name_of_(std::move(name_of)) {}

Expected<std::unique_ptr<PerfMap>> PerfMap::create(NameOfCode name_of) {
    const std::string path = fmt::format("/tmp/perf-{}.map", getpid());
    std::FILE* file = std::fopen(path.c_str(), "we");
    if (file == nullptr) {
        return cannot_write("--perf-map", path);
    }
    return std::unique_ptr<PerfMap>(new PerfMap(file, std::move(name_of)));
}

void PerfMap::translated(Vcpu& cpu, const jit::TranslationReport& report) {
    std::string& line = lines_[report.code.data()];
    line = fmt::format("{:x} {:x} {}\n", reinterpret_cast<std::uintptr_t>(report.code.data()),
                       report.code.size(), name_of_translation(name_of_, cpu, report.rip));
    std::fputs(line.c_str(), file_.get());
}

// The file is written again, without them.
void PerfMap::evicted(std::span<const u8> code) {
    lines_.erase(lines_.lower_bound(code.data()), lines_.lower_bound(code.data() + code.size()));
    std::fflush(file_.get());
    if (ftruncate(fileno(file_.get()), 0) != 0) {
        return;
    }
    std::rewind(file_.get());
    for (const auto& [place, line] : lines_) {
        std::fputs(line.c_str(), file_.get());
    }
}

JitDump::JitDump(std::FILE* file, NameOfCode name_of) : file_(file), name_of_(std::move(name_of)) {}

JitDump::~JitDump() {
    if (marker_ != nullptr) {
        munmap(marker_, kPageBytes);
    }
    std::fclose(file_);
}

bool JitDump::begin() {
    DumpHeader header;
    header.pid = static_cast<u32>(getpid());
    header.timestamp = now_ns();
    if (std::fwrite(&header, sizeof(header), 1, file_) != 1 || std::fflush(file_) != 0) {
        return false;
    }
    void* marker = mmap(nullptr, kPageBytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(file_), 0);
    if (marker == MAP_FAILED) {
        return false;
    }
    marker_ = marker;
    return true;
}

Expected<std::unique_ptr<JitDump>> JitDump::create(const std::string& directory,
                                                   NameOfCode name_of) {
    const std::string path = fmt::format("{}/jit-{}.dump", directory, getpid());
    std::FILE* file = std::fopen(path.c_str(), "w+e");
    if (file == nullptr) {
        return cannot_write("--jitdump", path);
    }
    std::unique_ptr<JitDump> dump(new JitDump(file, std::move(name_of)));
    if (!dump->begin()) {
        return cannot_write("--jitdump", path);
    }
    return dump;
}

void JitDump::translated(Vcpu& cpu, const jit::TranslationReport& report) {
    const std::string name = name_of_translation(name_of_, cpu, report.rip);
    CodeLoad load;
    load.bytes = static_cast<u32>(sizeof(load) + name.size() + 1 + report.code.size());
    load.timestamp = now_ns();
    load.pid = static_cast<u32>(getpid());
    load.thread = static_cast<u32>(gettid());
    load.address = load.code_address = reinterpret_cast<std::uintptr_t>(report.code.data());
    load.code_bytes = report.code.size();
    load.number = number_++;
    std::fwrite(&load, sizeof(load), 1, file_);
    std::fwrite(name.c_str(), name.size() + 1, 1, file_);
    std::fwrite(report.code.data(), report.code.size(), 1, file_);
}

}  // namespace droste

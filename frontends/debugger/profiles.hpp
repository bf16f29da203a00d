#pragma once
// Names of translated code for perf: --perf-map and --jitdump.
//
// A map (/tmp/perf-PID.map) has a line for each translation, "START SIZE NAME" in hexadecimal; perf
// report finds it by itself. It knows no time: after all code was dropped it begins anew, and
// samples taken before have wrong names or none. The dump (jit-PID.dump) has the code itself and
// when it was made; perf inject makes files of it that perf annotate shows. Linux,
// tools/perf/Documentation/jitdump-specification.txt.

#include "core/error.hpp"
#include "jit/listener.hpp"

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace droste {

// "symbol+0x12", or empty.
using NameOfCode = std::function<std::string(const Vcpu& cpu, u64 rip)>;

class PerfMap final : public jit::Listener {
  public:
    static Expected<std::unique_ptr<PerfMap>> create(NameOfCode name_of);
    void translated(Vcpu& cpu, const jit::TranslationReport& report) override;
    void evicted(std::span<const u8> code) override;

  private:
    struct Close {
        void operator()(std::FILE* file) const;
    };
    PerfMap(std::FILE* file, NameOfCode name_of);

    std::unique_ptr<std::FILE, Close> file_;
    NameOfCode name_of_;
    std::map<const u8*, std::string> lines_;  // of the file, by where the code begins
};

class JitDump final : public jit::Listener {
  public:
    // In `directory`: perf knows the file by its name, jit-PID.dump.
    static Expected<std::unique_ptr<JitDump>> create(const std::string& directory,
                                                     NameOfCode name_of);
    ~JitDump() override;
    void translated(Vcpu& cpu, const jit::TranslationReport& report) override;

  private:
    JitDump(std::FILE* file, NameOfCode name_of);
    bool begin();

    std::FILE* file_;
    void* marker_ = nullptr;  // a mapping of the file, by which perf record notes it
    NameOfCode name_of_;
    u64 number_ = 0;
};

}  // namespace droste

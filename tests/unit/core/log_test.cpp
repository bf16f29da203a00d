// Categories of the guest-event log: names, counts, and what reaches the sink.

#include "core/log.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <set>
#include <string>

using namespace droste;

namespace {

// A file that is read back.
class Sink {
  public:
    Sink() : file_(std::tmpfile()) { REQUIRE(file_ != nullptr); }
    ~Sink() { std::fclose(file_); }
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    std::FILE* file() const { return file_; }
    std::string text() const {
        std::fflush(file_);
        std::rewind(file_);
        std::string out;
        for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) {
            out.push_back(static_cast<char>(c));
        }
        return out;
    }

  private:
    std::FILE* file_;
};

}  // namespace

TEST_CASE("every category has a name of its own that enables it, and a sentence", "[core][log]") {
    std::set<std::string_view> names;
    for (unsigned i = 0; i < static_cast<unsigned>(LogCategory::kCount); ++i) {
        const auto category = static_cast<LogCategory>(i);
        const std::string_view name = Log::name_of(category);
        CHECK_FALSE(name.empty());
        CHECK(names.insert(name).second);
        CHECK_FALSE(Log::describe(category).empty());
        Log log;
        CHECK_FALSE(log.enabled(category));
        CHECK(log.enable_by_name(name));
        for (unsigned j = 0; j < static_cast<unsigned>(LogCategory::kCount); ++j) {
            CHECK(log.enabled(static_cast<LogCategory>(j)) == (i == j));
        }
    }
    Log log;
    CHECK_FALSE(log.enable_by_name("no_such_item"));
    CHECK_FALSE(log.enable_by_name(""));
}

TEST_CASE("a line is printed if its category is enabled, and counted anyway", "[core][log]") {
    const Sink sink;
    Log log;
    log.set_sink(sink.file());
    log.enable(LogCategory::Io);
    log.write(LogCategory::Io, "port {:#x}", 0x60);
    log.write(LogCategory::Mmu, "unseen {}", 1);
    log.write(LogCategory::Mmu, "unseen {}", 2);
    const std::string text = sink.text();
    CHECK(text.find("port 0x60") != std::string::npos);
    CHECK(text.back() == '\n');
    CHECK(text.find("unseen") == std::string::npos);
    CHECK(log.count(LogCategory::Io) == 1);
    CHECK(log.count(LogCategory::Mmu) == 2);
}

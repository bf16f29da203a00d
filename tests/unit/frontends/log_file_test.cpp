// The file behind -D: everything that fits, whole lines, and one sentence when it ends early.

#include "frontends/headless/log_file_posix.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

namespace droste {
namespace {

struct Told {
    std::vector<std::string> sentences;
    std::function<void(const std::string&)> teller() {
        return [this](const std::string& sentence) { sentences.push_back(sentence); };
    }
};

std::string contents_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Writes `lines` lines of 10 bytes through a log file with this limit; gives its contents.
std::string logged(u64 limit, unsigned lines, Told& told) {
    const std::string path = "/tmp/droste-log-test-" + std::to_string(getpid());
    {
        auto file = LogFile::open(path, limit, told.teller());
        REQUIRE(file);
        for (unsigned i = 0; i < lines; ++i) {
            std::fprintf(file.value()->stream(), "line%05u\n", i);
        }
    }
    std::string contents = contents_of(path);
    std::remove(path.c_str());
    return contents;
}

TEST_CASE("Log file: without a limit everything is in the file when it is closed") {
    Told told;
    CHECK(logged(0, 20'000, told).size() == 200'000);
    CHECK(told.sentences.empty());
}

TEST_CASE("Log file: at the limit it ends with a whole line, and that is said once") {
    Told told;
    const std::string contents = logged(54'321, 20'000, told);
    CHECK(contents.size() == 54'320);
    CHECK(contents.substr(54'310) == "line05431\n");
    REQUIRE(told.sentences.size() == 1);
    CHECK_THAT(told.sentences[0], Catch::Contains("54321 bytes"));
    Told exactly;
    CHECK(logged(200'000, 20'000, exactly).size() == 200'000);
    CHECK(exactly.sentences.empty());
}

TEST_CASE("Log file: a full disk is said once") {
    Told told;
    {
        auto file = LogFile::open("/dev/full", 0, told.teller());
        REQUIRE(file);
        for (unsigned i = 0; i < 20'000; ++i) {
            std::fprintf(file.value()->stream(), "line %04u\n", i);
        }
    }
    REQUIRE(told.sentences.size() == 1);
    CHECK_THAT(told.sentences[0], Catch::Contains("No space left"));
}

TEST_CASE("Log file: a file that cannot be written is refused") {
    const auto file = LogFile::open("/nonexistent/log", 0, {});
    REQUIRE_FALSE(file);
    CHECK_THAT(file.error().message, Catch::Contains("cannot write it"));
}

}  // namespace
}  // namespace droste

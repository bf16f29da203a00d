#pragma once
// The file behind -D: a C stream for the Log that ends where it must. When the size limit is reached
// or the disk is full, that is said once, and what follows is dropped: a guest that makes events
// without end fills neither a disk nor the terminal.

#include "core/error.hpp"
#include "core/types.hpp"

#include <cstdio>
#include <functional>
#include <memory>
#include <string>

namespace droste {

class LogFile {
  public:
    // `limit_bytes`: 0 is none. `tell` gets one sentence, once, when something could not be written.
    static Expected<std::unique_ptr<LogFile>>
    open(const std::string& path, u64 limit_bytes, std::function<void(const std::string&)> tell);
    // Writes what is still buffered.
    ~LogFile();
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;

    std::FILE* stream() { return stream_; }

  private:
    LogFile(std::string path, int fd, u64 limit_bytes, std::function<void(const std::string&)> tell)
        : path_(std::move(path))
        , fd_(fd)
        , limit_bytes_(limit_bytes)
        , tell_(std::move(tell)) {}
    void take(const char* bytes, std::size_t count);
    // Whole, or the file is given up.
    void write_all(const char* bytes, std::size_t count);

    std::string path_;
    int fd_;
    u64 limit_bytes_;
    std::function<void(const std::string&)> tell_;
    std::FILE* stream_ = nullptr;
    u64 written_bytes_ = 0;
    bool ended_ = false;
};

}  // namespace droste

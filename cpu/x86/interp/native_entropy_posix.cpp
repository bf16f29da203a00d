// See native_entropy.hpp.

#include "cpu/x86/interp/native_entropy.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

namespace droste {
namespace {

bool read_device(u64& value) {
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const bool got = read(fd, &value, sizeof(value)) == static_cast<ssize_t>(sizeof(value));
    close(fd);
    return got;
}

}  // namespace

std::optional<u64> native_entropy() {
    u64 value = 0;
    // Requests of up to 256 bytes are never interrupted once the pool is initialized.
    const bool got = getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value));
    return got || read_device(value) ? std::optional(value) : std::nullopt;
}

}  // namespace droste

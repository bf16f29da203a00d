// Random numbers from the native kernel, by getrandom(), or from the device where that is forbidden.

#include "cpu/x86/interp/native_entropy.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

namespace droste {

std::optional<u64> native_entropy() {
    u64 value = 0;
    // Requests of up to 256 bytes are never interrupted once the pool is initialized.
    ssize_t got = getrandom(&value, sizeof(value), 0);
    if (got != static_cast<ssize_t>(sizeof(value))) {
        const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            got = read(fd, &value, sizeof(value));
            close(fd);
        }
    }
    return got == static_cast<ssize_t>(sizeof(value)) ? std::optional(value) : std::nullopt;
}

}  // namespace droste

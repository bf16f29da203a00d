// Random numbers from the native kernel, by getrandom().

#include "core/assert.hpp"
#include "cpu/x86/interp/native_entropy.hpp"

#include <sys/random.h>

namespace droste {

u64 native_entropy() {
    u64 value = 0;
    // Requests of up to 256 bytes are never interrupted once the pool is initialized.
    const ssize_t got = getrandom(&value, sizeof(value), 0);
    DROSTE_ASSERT(got == static_cast<ssize_t>(sizeof(value)));
    return value;
}

}  // namespace droste

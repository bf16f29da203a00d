#include "jit/native_cpu.hpp"

#include <string>

#include <fmt/format.h>

namespace droste::jit {

Expected<void> check_native_cpu(const NativeFeatures& native) {
    const std::string missing = native.lacking_of_v2();
    if (missing.empty()) {
        return {};
    }
    return Error{.message = fmt::format("this machine's own CPU lacks {} for translated code: "
                                        "-accel interp does without",
                                        missing),
                 .native = true};
}

}  // namespace droste::jit

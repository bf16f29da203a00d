#include "core/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace droste {

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "droste: internal error: %s:%d: %s\n", file, line, expression);
    std::abort();
}

}  // namespace droste

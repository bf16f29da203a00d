#pragma once
// DROSTE_ASSERT: our own bugs only (never a guest's doing). Prints the expression and aborts, in
// release builds too; keep it off per-instruction paths, where DROSTE_DEBUG_ASSERT serves.

namespace droste {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace droste

#define DROSTE_ASSERT(expression)        \
    ((expression) ? static_cast<void>(0) \
                  : ::droste::assertion_failed(#expression, __FILE__, __LINE__))

#ifdef NDEBUG
    #define DROSTE_DEBUG_ASSERT(expression) static_cast<void>(0)
#else
    #define DROSTE_DEBUG_ASSERT(expression) DROSTE_ASSERT(expression)
#endif

#define DROSTE_UNREACHABLE() ::droste::assertion_failed("unreachable", __FILE__, __LINE__)

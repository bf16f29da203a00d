// The table of rows.inc.
#include "rows.h"

const struct Row kCpuRows[] = {
#define ROW(area, name, operations, needs, what) {#area, #name, operations, needs, name##_unit},
#include "rows.inc"
#undef ROW
};
const unsigned kCpuRowCount = sizeof(kCpuRows) / sizeof(kCpuRows[0]);

// say_level N: CPUID of leaf 5E00000Nh. The VM exit it causes is one of level N's, whoever sees to it: what kvm.py --trace
// checks the attribution of VM exits against.
#include <cpuid.h>
#include <stdlib.h>

int main(int argc, char** argv) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (argc != 2) {
        return 2;
    }
    __cpuid(0x5E000000U + (unsigned)atoi(argv[1]), a, b, c, d);
    return 0;
}

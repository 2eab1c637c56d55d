// Compiles a function for several processors; the loader picks the version for the one at hand.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define AUTOREP_CLONES __attribute__((target_clones("default", "avx2,fma", "arch=skylake-avx512")))
#else
#define AUTOREP_CLONES
#endif

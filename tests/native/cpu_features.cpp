// Prints the scores of some CPU libraries, as ggml computes them, on a CPU and a system that the arguments describe:
// ebx, ecx, edx of cpuid's leaf 7, eax of its part 1, ecx of leaf 1, XCR0, and whether AMX is permitted (hexadecimal).

#include <array>
#include <bitset>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

static unsigned leaf_7[4], leaf_7_1, leaf_1_ecx;
static unsigned long long states;
static bool permitted;

static void __cpuidex(int out[4], int leaf, int part) {
    const unsigned none[4] = {};
    const unsigned one[4] = {0, 0, leaf_1_ecx, 0};
    const unsigned part_1[4] = {leaf_7_1, 0, 0, 0};
    const unsigned highest[4] = {7, 0, 0, 0};
    std::memcpy(out, leaf == 0 ? highest : leaf == 1 ? one : leaf != 7 ? none : part == 1 ? part_1 : leaf_7, 16);
}
static void __cpuid(int out[4], int leaf) {
    __cpuidex(out, leaf, 0);
}
static unsigned long long _xgetbv(unsigned) {
    if (!(leaf_1_ecx >> 27 & 1)) std::abort();  // without OSXSAVE it is an illegal instruction
    return states;
}
static long answer_arch_prctl(long number, long code, long feature) {
    if (number != SYS_arch_prctl || code != 0x1023 || feature != 18) std::abort();
    return permitted ? 0 : -1;
}

#define GGML_BACKEND_DL_SCORE_IMPL(function)
#define syscall answer_arch_prctl
#define _MSC_VER 1900  // takes the functions above instead of instructions

// Each time for a library with more features.
#define GGML_SSE42
namespace sse42 {
#include "cpu-feats.cpp"
}
#define GGML_FMA
#define GGML_F16C
#define GGML_BMI2
#define GGML_AVX
#define GGML_AVX2
namespace haswell {
#include "cpu-feats.cpp"
}
#define GGML_AVX512
#define GGML_AVX512_VBMI
#define GGML_AVX512_VNNI
#define GGML_AVX512_BF16
namespace zen4 {
#include "cpu-feats.cpp"
}
#define GGML_AMX_INT8
namespace sapphirerapids {
#include "cpu-feats.cpp"
}

int main(int, char ** arguments) {
    auto number = [&](int index) { return std::strtoull(arguments[index], nullptr, 16); };
    for (int i = 1; i < 4; i++) leaf_7[i] = number(i);
    leaf_7_1 = number(4);
    leaf_1_ecx = number(5);
    states = number(6);
    permitted = number(7);
    std::printf("%d %d %d %d\n", sse42::ggml_backend_cpu_x86_score(), haswell::ggml_backend_cpu_x86_score(),
                zen4::ggml_backend_cpu_x86_score(), sapphirerapids::ggml_backend_cpu_x86_score());
}

// What the machine can do at best, with as many threads as are given: bytes read from memory and eight-bit products.
//
//   cc -O3 -march=native -pthread benches/ceiling.c -o ceiling && ./ceiling THREADS
//
// One line of JSON: read_bytes_per_s (a buffer of large pages far beyond the caches, read in order), and byte products per
// second of the vector unit (with the best instruction that it has: vpdpbusd of 64 or 32 bytes, or else vpmaddubsw) and of
// the matrix unit (AMX, where it is lent). Each is the best of some tries: ceilings that no program reaches; benches/chat.py
// states its speeds as shares of them.
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 20) // for each thread
#define LARGE_PAGE_BYTES (2u << 20)
#define AHEAD_LINES 32 // the hardware's own reading ahead stops at every page
#define PASSES 4
#define TRIES 5
#define ROUNDS 400000000ull

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

typedef uint64_t line __attribute__((vector_size(64)));

static void *read_all(void *buffer) {
    volatile uint64_t keep;
    const line *lines = buffer;
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (int pass = 0; pass < PASSES; pass++)
        for (size_t i = 0; i < BUFFER_BYTES / sizeof(line); i += 4) {
            for (int ahead = 0; ahead < 4; ahead++) __builtin_prefetch(&lines[i + ahead + AHEAD_LINES]);
            a += lines[i], b += lines[i + 1], c += lines[i + 2], d += lines[i + 3];
        }
    a += b + c + d;
    keep = a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
    (void)keep;
    return 0;
}

// Ten chains: one of them waits for itself, ten keep the unit busy.
#define TEN(TO) TO(0) TO(1) TO(2) TO(3) TO(4) TO(5) TO(6) TO(7) TO(8) TO(9)
#define TEN_TOUCHED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9"
#if defined(__AVX512VNNI__)
#define PRODUCTS 64.0
#define TO(n) "vpdpbusd %%zmm10, %%zmm10, %%zmm" #n "\n"
#elif defined(__AVXVNNI__)
#define PRODUCTS 32.0
#define TO(n) "%{vex%} vpdpbusd %%ymm10, %%ymm10, %%ymm" #n "\n"
#else
#define PRODUCTS 32.0
#define TO(n) "vpmaddubsw %%ymm10, %%ymm10, %%ymm" #n "\n"
#endif

static void *vectors(void *unused) {
    for (uint64_t round = 0; round < ROUNDS / 10; round++) __asm__ volatile(TEN(TO) : : : TEN_TOUCHED);
    return unused;
}

static void *matrices(void *unused) {
#ifdef __AMX_INT8__
    static struct { uint8_t palette, row, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
    for (uint64_t round = 0; round < ROUNDS / 160; round++) {
        _tile_dpbusd(0, 6, 7);
        _tile_dpbusd(1, 6, 7);
        _tile_dpbusd(2, 6, 7);
        _tile_dpbusd(3, 6, 7);
    }
    _tile_release();
#endif
    return unused;
}

// Seconds that all threads take for it together, in the best of some tries.
static double all(void *(*work)(void *), void **of, int threads) {
    pthread_t started[64];
    double best = 1e9;
    for (int try = 0; try < TRIES; try++) {
        double began = now();
        for (int i = 0; i < threads; i++) pthread_create(&started[i], 0, work, of[i]);
        for (int i = 0; i < threads; i++) pthread_join(started[i], 0);
        double took = now() - began;
        if (took < best) best = took;
    }
    return best;
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    if (threads < 1 || threads > 64) return 2;
    void *buffers[64];
    for (int i = 0; i < threads; i++) {
        // A page more than is read: lines are asked for ahead of the end.
        buffers[i] = aligned_alloc(LARGE_PAGE_BYTES, BUFFER_BYTES + LARGE_PAGE_BYTES);
        if (!buffers[i]) return 1;
        madvise(buffers[i], BUFFER_BYTES + LARGE_PAGE_BYTES, MADV_HUGEPAGE);
        memset(buffers[i], i + 1, BUFFER_BYTES);
    }
    double read = all(read_all, buffers, threads), vector = all(vectors, buffers, threads), matrix = 0;
#ifdef __AMX_INT8__
    if (syscall(SYS_arch_prctl, 0x1023, 18) == 0)
        matrix = threads * (ROUNDS / 40) * 16384.0 / all(matrices, buffers, threads);
#endif
    printf("{\"read_bytes_per_s\": %.4g, \"vector_products_per_s\": %.4g, \"matrix_products_per_s\": %.4g}\n",
           (double)threads * PASSES * BUFFER_BYTES / read, threads * ROUNDS * PRODUCTS / vector, matrix);
    return 0;
}

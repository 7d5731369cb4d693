// What the machine can do at best, with as many threads as are given: bytes read from memory and eight-bit products.
//
//   cc -O3 -march=native -pthread benches/ceiling.c -o ceiling && ./ceiling THREADS
//
// One line of JSON: read_bytes_per_s (a buffer far beyond the caches, read in order), and byte products per second of the
// vector unit (vpdpbusd, where the machine has AVX-512 VNNI) and of the matrix unit (AMX, where it is lent). Ceilings that
// no program reaches; benches/chat.py states its speeds as shares of them.
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 20) // for each thread
#define PASSES 6
#define ROUNDS 400000000ull

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void *read_all(void *buffer) {
    volatile uint64_t keep;
    const uint64_t *words = buffer;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (int pass = 0; pass < PASSES; pass++)
        for (size_t i = 0; i < BUFFER_BYTES / 8; i += 4) {
            a += words[i], b += words[i + 1], c += words[i + 2], d += words[i + 3];
        }
    keep = a + b + c + d;
    (void)keep;
    return 0;
}

static void *vectors(void *unused) {
#ifdef __AVX512VNNI__
#define TO(n) "vpdpbusd %%zmm31, %%zmm31, %%zmm" #n "\n"
    // Ten chains: one of them waits for itself, ten keep the unit busy.
    for (uint64_t round = 0; round < ROUNDS / 10; round++)
        __asm__ volatile(TO(16) TO(17) TO(18) TO(19) TO(20) TO(21) TO(22) TO(23) TO(24) TO(25) : : :
                         "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25");
#endif
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

static double all(void *(*work)(void *), void **of, int threads) {
    pthread_t started[64];
    double began = now();
    for (int i = 0; i < threads; i++) pthread_create(&started[i], 0, work, of[i]);
    for (int i = 0; i < threads; i++) pthread_join(started[i], 0);
    return now() - began;
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    if (threads < 1 || threads > 64) return 2;
    void *buffers[64];
    for (int i = 0; i < threads; i++) memset(buffers[i] = aligned_alloc(4096, BUFFER_BYTES), i + 1, BUFFER_BYTES);
    double read = all(read_all, buffers, threads), vector = 0, matrix = 0;
#ifdef __AVX512VNNI__
    vector = threads * ROUNDS * 64.0 / all(vectors, buffers, threads);
#endif
#ifdef __AMX_INT8__
    if (syscall(SYS_arch_prctl, 0x1023, 18) == 0)
        matrix = threads * (ROUNDS / 40) * 16384.0 / all(matrices, buffers, threads);
#endif
    printf("{\"read_bytes_per_s\": %.4g, \"vector_products_per_s\": %.4g, \"matrix_products_per_s\": %.4g}\n",
           (double)threads * PASSES * BUFFER_BYTES / read, vector, matrix);
    return 0;
}

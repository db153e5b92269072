/* A stand-in for NVIDIA's management library, driven by a file, for tests on hosts without a GPU.
 *
 * FAKE_NVML names a text file of `key value` lines, read anew at every call:
 *   total, used       bytes
 *   util, celsius     percent, degrees
 *   milliwatts
 *   error             NVML return code of every device call (15: the GPU is lost; 999: unknown)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_FOUND = 6 };
static const char *UUID = "GPU-fake-0000";

static unsigned long long setting(const char *wanted, unsigned long long otherwise) {
    char line[128], key[64];
    unsigned long long value, answer = otherwise;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file == NULL) return otherwise;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%63s %llu", key, &value) == 2 && strcmp(key, wanted) == 0) answer = value;
    fclose(file);
    return answer;
}

static int code(void) { return (int)setting("error", SUCCESS); }

struct memory { unsigned long long total, free, used; };
struct utilization { unsigned int gpu, memory; };

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int number) { return number == 15 ? "GPU is lost" : "error of the fake NVML"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return code(); }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index > 0) return INVALID_ARGUMENT;
    *device = (void *)&UUID;
    return code();
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (strcmp(uuid, UUID) != 0) return NOT_FOUND;
    *device = (void *)&UUID;
    return code();
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned int size) {
    (void)device;
    snprintf(text, size, "%s", UUID);
    return code();
}

int nvmlDeviceGetName(void *device, char *text, unsigned int size) {
    (void)device;
    snprintf(text, size, "Fake GPU");
    return code();
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    (void)device;
    memory->total = setting("total", 24ULL << 30);
    memory->used = setting("used", 0);
    memory->free = memory->total - memory->used;
    return code();
}

int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates) {
    (void)device;
    rates->gpu = (unsigned int)setting("util", 0);
    rates->memory = 0;
    return code();
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)device;
    (void)sensor;
    *celsius = (unsigned int)setting("celsius", 40);
    return code();
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    (void)device;
    *milliwatts = (unsigned int)setting("milliwatts", 50000);
    return code();
}

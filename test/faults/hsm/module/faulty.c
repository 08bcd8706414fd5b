/*
 * A PKCS#11 module that is SoftHSM until told otherwise: every call goes to the module FAULTY_MODULE names,
 * and those listed below first look for a fault in the file FAULTY_CONTROL names, which is mapped into
 * memory and written by the test (see ../faulty-module.ts). Functions not listed are the real ones.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pkcs11/pkcs11.h>

enum kind {
  NONE = 0,
  FAIL = 1,          /* `code` instead of the call: what C_…Init began stays active */
  DO_AND_FAIL = 2,   /* the call, and `code` instead of its answer */
  LOSE_SESSIONS = 3, /* every session is really closed, then the call */
  HANG = 4,          /* the call only once the fault is cleared */
  SLOW = 5,          /* 20 ms, then the call */
  FLIP = 6,          /* the call, and the last bit of its first byte of output turned */
};

struct fault {
  uint32_t kind;
  uint32_t code;
  int64_t every;     /* each so many-th call */
  int64_t remaining; /* how often yet; negative: for ever */
  uint64_t calls;    /* counted here, read by the test */
  uint64_t injected;
};

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST list;
static struct fault *faults;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Closing all sessions waits for the calls that use them: this module's faults, not SoftHSM's races, are tried. */
static pthread_rwlock_t calls_lock = PTHREAD_RWLOCK_INITIALIZER;

static enum kind due(struct fault *fault) {
  uint64_t call = __atomic_add_fetch(&fault->calls, 1, __ATOMIC_RELAXED);
  uint32_t kind = __atomic_load_n(&fault->kind, __ATOMIC_ACQUIRE);
  if (kind == NONE || call % (uint64_t)fault->every != 0) return NONE;
  int64_t left = __atomic_load_n(&fault->remaining, __ATOMIC_RELAXED);
  do {
    if (left == 0) return NONE;
    if (left < 0) break;
  } while (!__atomic_compare_exchange_n(&fault->remaining, &left, left - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  __atomic_add_fetch(&fault->injected, 1, __ATOMIC_RELAXED);
  return kind;
}

static void lose_sessions(void) {
  CK_SLOT_ID slots[16];
  CK_ULONG count = 16;
  pthread_rwlock_wrlock(&calls_lock);
  if (real->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK)
    while (count > 0) real->C_CloseAllSessions(slots[--count]);
  pthread_rwlock_unlock(&calls_lock);
}

/* FORWARD's place among the others is its place in the control file: the test reads it from this file. */
#define FORWARD(name, parameters, arguments, output)                                         \
  enum { index_##name = __COUNTER__ };                                                       \
  static CK_RV faulty_##name parameters {                                                    \
    struct fault *fault = &faults[index_##name];                                             \
    enum kind kind = due(fault);                                                             \
    if (kind == FAIL) return fault->code;                                                    \
    if (kind == LOSE_SESSIONS) lose_sessions();                                              \
    while (kind == HANG && __atomic_load_n(&fault->kind, __ATOMIC_ACQUIRE) == HANG) usleep(1000); \
    if (kind == SLOW) usleep(20000);                                                         \
    pthread_rwlock_rdlock(&calls_lock);                                                      \
    CK_RV answer = real->name arguments;                                                     \
    pthread_rwlock_unlock(&calls_lock);                                                      \
    CK_BYTE_PTR bytes = (CK_BYTE_PTR)(output);                                               \
    if (kind == FLIP && answer == CKR_OK && bytes != NULL) bytes[0] ^= 1;                    \
    return kind == DO_AND_FAIL ? fault->code : answer;                                       \
  }

#define SESSION CK_SESSION_HANDLE session
#define BYTES(name) CK_BYTE_PTR name, CK_ULONG name##_length
#define BUFFER CK_BYTE_PTR out, CK_ULONG_PTR out_length
#define TEMPLATE CK_ATTRIBUTE_PTR template, CK_ULONG count

FORWARD(C_Initialize, (CK_VOID_PTR arguments), (arguments), NULL)
FORWARD(C_Finalize, (CK_VOID_PTR reserved), (reserved), NULL)
FORWARD(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count), (present, slots, count), NULL)
FORWARD(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info), (slot, info), NULL)
FORWARD(C_OpenSession, (CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR session), (slot, flags, application, notify, session), NULL)
FORWARD(C_CloseSession, (SESSION), (session), NULL)
FORWARD(C_Login, (SESSION, CK_USER_TYPE user, BYTES(pin)), (session, user, pin, pin_length), NULL)
FORWARD(C_CreateObject, (SESSION, TEMPLATE, CK_OBJECT_HANDLE_PTR object), (session, template, count, object), NULL)
FORWARD(C_DestroyObject, (SESSION, CK_OBJECT_HANDLE object), (session, object), NULL)
FORWARD(C_GetAttributeValue, (SESSION, CK_OBJECT_HANDLE object, TEMPLATE), (session, object, template, count), NULL)
FORWARD(C_FindObjectsInit, (SESSION, TEMPLATE), (session, template, count), NULL)
FORWARD(C_FindObjects, (SESSION, CK_OBJECT_HANDLE_PTR objects, CK_ULONG most, CK_ULONG_PTR count), (session, objects, most, count), NULL)
FORWARD(C_FindObjectsFinal, (SESSION), (session), NULL)
FORWARD(C_EncryptInit, (SESSION, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key), NULL)
FORWARD(C_Encrypt, (SESSION, BYTES(data), BUFFER), (session, data, data_length, out, out_length), out)
FORWARD(C_DecryptInit, (SESSION, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key), NULL)
FORWARD(C_Decrypt, (SESSION, BYTES(data), BUFFER), (session, data, data_length, out, out_length), out)
FORWARD(C_SignInit, (SESSION, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key), NULL)
FORWARD(C_Sign, (SESSION, BYTES(data), BUFFER), (session, data, data_length, out, out_length), out)
FORWARD(C_GenerateKey, (SESSION, CK_MECHANISM_PTR mechanism, TEMPLATE, CK_OBJECT_HANDLE_PTR key), (session, mechanism, template, count, key), NULL)
FORWARD(C_GenerateKeyPair, (SESSION, CK_MECHANISM_PTR mechanism, TEMPLATE, CK_ATTRIBUTE_PTR private_template, CK_ULONG private_count, CK_OBJECT_HANDLE_PTR public_key, CK_OBJECT_HANDLE_PTR private_key), (session, mechanism, template, count, private_template, private_count, public_key, private_key), NULL)
FORWARD(C_WrapKey, (SESSION, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE by, CK_OBJECT_HANDLE key, BUFFER), (session, mechanism, by, key, out, out_length), out)
FORWARD(C_UnwrapKey, (SESSION, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE by, BYTES(blob), TEMPLATE, CK_OBJECT_HANDLE_PTR key), (session, mechanism, by, blob, blob_length, template, count, key), NULL)
FORWARD(C_GenerateRandom, (SESSION, BYTES(random)), (session, random, random_length), NULL)

static void load(void) {
  const char *module = getenv("FAULTY_MODULE"), *control = getenv("FAULTY_CONTROL");
  if (module == NULL || control == NULL) return;
  void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
  CK_C_GetFunctionList get = library == NULL ? NULL : (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  int file = open(control, O_RDWR);
  void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (get == NULL || mapped == MAP_FAILED || get(&real) != CKR_OK) return;
  faults = mapped;
  list = *real;
#define USE(name) list.name = faulty_##name
  USE(C_Initialize); USE(C_Finalize); USE(C_GetSlotList); USE(C_GetTokenInfo); USE(C_OpenSession);
  USE(C_CloseSession); USE(C_Login); USE(C_CreateObject); USE(C_DestroyObject); USE(C_GetAttributeValue);
  USE(C_FindObjectsInit); USE(C_FindObjects); USE(C_FindObjectsFinal); USE(C_EncryptInit); USE(C_Encrypt);
  USE(C_DecryptInit); USE(C_Decrypt); USE(C_SignInit); USE(C_Sign); USE(C_GenerateKey); USE(C_WrapKey);
  USE(C_UnwrapKey); USE(C_GenerateRandom); USE(C_GenerateKeyPair);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR functions) {
  pthread_once(&once, load);
  if (faults == NULL) return CKR_GENERAL_ERROR;
  list.C_GetFunctionList = C_GetFunctionList;
  *functions = &list;
  return CKR_OK;
}

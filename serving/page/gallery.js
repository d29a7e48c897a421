// The gallery: every image made in this browser, kept in its own database (IndexedDB); the oldest go first, favourites never.

const MOST = 500;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("darkroom", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("images", { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, act) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const change = database.transaction("images", mode);
      const request = act(change.objectStore("images"));
      change.oncomplete = () => resolve(request?.result);
      change.onerror = change.onabort = () => reject(change.error);
    });
  } finally {
    database.close();
  }
}

export class Gallery {
  images = []; // newest first: {id, src, label, recipe, model, version, data, drawing, favourite}

  async open() {
    try {
      this.images = (await within("readonly", (store) => store.getAll())).reverse();
    } catch { /* a private window may have no database: the images of this visit are kept all the same */ }
  }

  async add(made) {
    this.images.unshift(...made);
    try {
      await within("readwrite", (store) => {
        for (const image of [...made].reverse()) store.add({ ...image }).onsuccess = (event) => { image.id = event.target.result; };
      });
    } catch { /* as above: kept for this visit */ }
    const old = this.images.filter((image) => !image.favourite).slice(MOST);
    if (old.length) await this.remove(old);
  }

  async favour(image, favourite) {
    image.favourite = favourite;
    await within("readwrite", (store) => store.put(image)).catch(() => {});
  }

  async remove(gone) {
    this.images = this.images.filter((image) => !gone.includes(image));
    await within("readwrite", (store) => gone.forEach((image) => image.id && store.delete(image.id))).catch(() => {});
  }
}

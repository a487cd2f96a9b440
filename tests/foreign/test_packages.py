"""What generators of other languages read in the contract: packages, and which methods change nothing."""

from importlib import import_module
from pkgutil import iter_modules

import jobledger.v1
from google.protobuf.descriptor_pb2 import FileOptions, MethodOptions
from jobledger_service.transport.methods import Kind

from tests.support.methods import METHODS

PACKAGES = {
    "csharp_namespace": "Jobledger.V1",
    "go_package": "jobledger/v1;jobledgerv1",
    "java_multiple_files": True,
    "java_package": "com.jobledger.v1",
}


def test_each_file_names_the_packages_of_other_languages():
    names = [module.name for module in iter_modules(jobledger.v1.__path__) if module.name.endswith("_pb2")]
    files = [import_module(f"jobledger.v1.{name}").DESCRIPTOR for name in names]
    assert len(files) > 10
    for file in files:
        options: FileOptions = file.GetOptions()
        assert {name: getattr(options, name) for name in PACKAGES} == PACKAGES, file.name
    outer = {file.GetOptions().java_outer_classname for file in files}
    assert len(outer) == len(files)


def test_the_methods_that_change_nothing_say_so():
    for method in METHODS.values():
        if method.service.startswith("jobledger.v1."):
            options: MethodOptions = method.descriptor.methods_by_name[method.name].GetOptions()
            says = options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
            assert says == (method.kind is not Kind.WRITE), method.full_name
